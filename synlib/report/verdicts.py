"""Each claim of the paper, from ``claims.yaml``, against our runs: by how much it holds, and whether that is decided.

A weighted sum of APs should be above 0: it holds if the 95 % interval lies above 0, does not hold if it lies below, and
is not decided otherwise, or where a run is missing. The interval is a paired bootstrap: each draw has the same images
for all runs, and with several seeds the same trainings. With one seed, it does not cover how trainings differ.
"""

import contextlib
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from scapes.bootstrap import MEAN, NAMES, percentiles
from synlib.report.frames import INTERVAL, DrawsOf, Missing, published, stacked
from synlib.report.limits import at, last_near_highest
from synlib.report.style import named
from synlib.report.tables import intervals, linked, shown
from synlib.runs.store import HOME
from synlib.section import check
from synlib.study.study import Study

COLUMNS = ("section", "shown in", "claim", "unit", "paper", "ours", "low", "high", "verdict", "because", "runs")
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
PLURALS = {HOLDS: "hold", FAILS: "do not hold", OPEN: OPEN}
SIGNS = {HOLDS: "✓", FAILS: "✗", OPEN: "?"}
COLORS = {"✓": "#bfe8d4", "✗": "#ffd0ad", "?": "#dde2e7"}  # dark letters on them can be read on dark pages, too
CHOICES = {"min": min, "max": max, "between": statistics.median_high}  # word in a claim -> function of all values
_MEAN = NAMES.index(MEAN)

Claim = Mapping[str, Any]  # or one of the runs it weighs; claims.yaml explains their keys
# A number and its draws, (1 + B,); the same of what is above 0 if the claim holds; what both rest on
Judged = tuple[np.ndarray, np.ndarray, str]
Results = Mapping[str, pd.DataFrame]  # experiment -> its results, see synlib.report.frames


@functools.cache
def claims() -> tuple[dict[str, Any], ...]:
    """All claims, by section, with the keys that the head of ``claims.yaml`` explains."""
    entries = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    return tuple({"rule": "above_zero", "unit": "AP points", "paper": None} | entry for entry in entries)


def judged(study: Study, *places: str) -> pd.DataFrame:
    """:func:`verdicts` from the runs of a study that exist; nothing is trained.

    ``places``: a section ("4.1"), table or figure ("Table 2"), by default all; raises ValueError for an unknown one.
    """
    experiments = {runs["experiment"] for claim in _chosen(places) for runs in claim["runs"]}
    results = {name: study.results(study.planned(name)) for name in sorted(experiments)}
    ended = {name: rows for name, rows in results.items() if rows["class"].notna().any()}
    return verdicts(ended, study.store.draws, *places)


def conclude(judged: pd.DataFrame) -> Markdown:
    """:func:`verdicts` in words: their count, and with numbers what is not as in the paper, or not decided."""
    judged = judged.assign(interval=intervals)
    lines = [f"**{counted(judged['verdict'])}.**"]  # claims that hold hold in the paper, too: the table has them
    for verdict, said in ((FAILS, "Does not hold here"), (OPEN, "Not decided")):
        rows = judged[judged["verdict"] == verdict].to_dict("records")
        lines += [f"\n{said}:\n"] * bool(rows)
        for row in rows:
            ours = "no number" if pd.isna(row["ours"]) else "{ours:+.1f} ({interval}) {unit}".format_map(row)
            paper = "no number" if pd.isna(row["paper"]) else f"{row['paper']:+.1f}"
            lines.append(f"- {row['claim']} ({row['shown in']}): here {ours}, in the paper {paper}; {row['because']}.")
    return Markdown("\n".join(lines))


def best(results: pd.DataFrame, draws: DrawsOf, factor: str, by: Sequence[str] = ()) -> Markdown:
    """At which value of ``factor`` the mean AP is highest: one line per evaluation set and value of ``by``."""
    lines = [f"The highest AP by {factor.replace('_', ' ')}:", ""]
    done = results[(results["class"] == MEAN) & results["ap"].notna()]
    for (on, *values), rows in done.groupby(["evaluated on", *by]):
        place = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in zip(by, values, strict=True))
        if rows[factor].nunique() > 1:  # of one value, nothing is highest
            lines.append(f"- on {on}{place}: {_best(rows, draws, factor)}")
    return Markdown("\n".join(lines))


def _best(rows: pd.DataFrame, draws: DrawsOf, factor: str) -> str:
    """The highest AP, its interval and runs, and which other values a paired bootstrap cannot tell from it."""
    try:
        runs = stacked(rows, draws, factor)
    except Missing as error:
        return str(error)
    ap = 100 * runs.ap[..., _MEAN]  # (K, 1 + B)
    top = ap[:, 0].argmax()
    found, (low, _) = percentiles(ap[top, 1:]), percentiles((ap[top] - ap)[:, 1:].T)  # low: (K,)
    equal = ", ".join(f"{value:g}" for value in runs.values[low <= 0] if value != runs.values[top])
    ids = ", ".join(rows.loc[rows[factor] == runs.values[top], "run"].unique())
    end = {0: " (the smallest that has a result)", len(ap) - 1: " (the largest that has a result)"}.get(top, "")
    text = f"**{ap[top, 0]:.1f}** ({found[0]:.1f} – {found[1]:.1f}) at **{runs.values[top]:g}**{end}, run {ids}"
    return f"{text}; {f'not clearly lower: {equal}' if equal else 'all others are clearly lower'}"


def verdicts(results: Results, draws: DrawsOf, *places: str, asked: Sequence[Claim] | None = None) -> pd.DataFrame:
    """One row per claim ``asked``, by default those of ``places`` as in :func:`judged`; columns :data:`COLUMNS`.

    ``paper`` (missing where it states no number), ``ours``, ``low``, ``high``: in ``unit``. ``because``: why a claim is
    not decided, or what the verdict rests on. ``runs``: ids, separated by blanks.
    """
    rows = []
    for claim in _chosen(places) if asked is None else asked:
        try:
            found, above, because = RULES[claim["rule"]](claim, results, draws)
        except Missing as error:
            found, above, because = np.full(2, np.nan), np.full(2, np.nan), str(error)
        said = (claim[key] for key in ("section", "shown_in", "text", "unit"))
        ours = found[0], *percentiles(found[1:]), verdict_of(above), because, _runs_of(claim, results)
        rows.append((*said, _in_the_paper(claim), *ours))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def elsewhere(results: Results, draws: DrawsOf, sets: Iterable[str]) -> pd.DataFrame:
    """:func:`verdicts` on what ``results`` tell of Cityscapes alone, and the same asked of other evaluation ``sets``.

    Columns: ``evaluated on``, and :data:`COLUMNS`; claims in their order for Cityscapes, then for each of ``sets``.
    """
    known = [c for c in claims() if {r["experiment"] in results and r["evaluated_on"] for r in c["runs"]} == {HOME}]
    found = []
    for on in (HOME, *sets):
        asked = [claim | {"runs": [runs | {"evaluated_on": on} for runs in claim["runs"]]} for claim in known]
        found.append(verdicts(results, draws, asked=asked).assign(**{"evaluated on": on}))
    found = pd.concat(found, ignore_index=True)
    return found.assign(claim=found["claim"].str.replace(f",? (evaluated )?on {HOME}$", "", regex=True))


def elsewhere_table(found: pd.DataFrame) -> Styler:
    """:func:`elsewhere` for display: one row per claim, one column per evaluation set."""
    texts = found["ours"].map(" {:+.1f} (".format) + intervals(found) + ")"
    cells = found.assign(cell=found["verdict"].map(SIGNS) + texts.where(found["ours"].notna(), " –"))
    table = cells.set_index(["claim", "evaluated on"])["cell"].unstack(sort=False)  # refuses a claim that stands twice
    return named(_colored(shown(table), list(table)), "other_streets", other_streets=found)


def carried_over(found: pd.DataFrame) -> Markdown:
    """:func:`elsewhere` in words: how many of the claims that hold on Cityscapes hold on each other set."""
    of = dict(list(found.groupby("evaluated on", sort=False)))
    home = of.pop(HOME)
    held = home.loc[home["verdict"] == HOLDS, "claim"]
    lines = [f"**On {HOME}: {counted(home['verdict'])}.** Of the {len(held)} that hold:\n"]
    lines += [f"- on {on}: {counted(rows.loc[rows['claim'].isin(held), 'verdict'])}" for on, rows in of.items()]
    return Markdown("\n".join(lines if of else [*lines, "- on other streets: `data.also_evaluate_on` names none"]))


def table(judged: pd.DataFrame) -> Styler:
    """:func:`verdicts` for display: one row per claim, its verdict with sign and colour; the caption counts them."""
    units = (" (" + judged["unit"] + ")").where(judged["unit"] != "AP points", "")
    texts = {"section": judged["section"] + ", " + judged["shown in"], "claim": judged["claim"] + units,
             "verdict": judged["verdict"].map(lambda v: f"{SIGNS[v]} {v}"), INTERVAL: intervals(judged),
             "ours": linked(judged["ours"], judged["runs"])}  # fmt: skip
    columns = ["section", "claim", "paper", "ours", INTERVAL, "verdict", "because"]
    styled = _colored(shown(judged.assign(**texts)[columns]), ["verdict"])
    left = [{"selector": "", "props": "text-align: left; white-space: normal; min-width: 9em"}]
    styled.set_table_styles(dict.fromkeys(["section", "claim", "verdict", "because"], left))
    return named(styled.set_caption(counted(judged["verdict"])), "claims", claims=judged)


def _colored(styled: Styler, columns: Sequence[str]) -> Styler:
    """With the background of the verdict whose sign the texts of ``columns`` begin with."""
    look = "background: {}; color: #1c2126; font-weight: bold".format
    return styled.map(lambda text: look(COLORS[text[0]]), subset=columns)


def counted(found: pd.Series) -> str:
    """Such as ``5 claims: 4 hold, 1 not decided``."""
    counts = {verdict: (found == verdict).sum() for verdict in PLURALS}
    parts = [f"{count} {PLURALS[v] if count > 1 else v}" for v, count in counts.items() if count]
    return f"{len(found)} claim{'s' * (len(found) != 1)}{': ' * bool(parts)}{', '.join(parts)}"


def _chosen(places: Sequence[str]) -> list[Claim]:
    known = dict.fromkeys(place for claim in claims() for place in (claim["section"], claim["shown_in"]))
    wanted = [place for place in places if place] or list(known)
    check(known.keys() >= set(wanted), wanted, f"some of {', '.join(known)}", "claims of")
    return [claim for claim in claims() if claim["section"] in wanted or claim["shown_in"] in wanted]


def _in_the_paper(claim: Claim) -> float:
    """The sum of the paper's own numbers; missing where it does not state them all."""
    if claim["paper"] is not None:
        return claim["paper"]
    try:
        return sum(runs["weight"] * _select(runs, published())["ap"].mean() for runs in claim["runs"])
    except Missing:
        return np.nan


def _above_zero(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
    """A claim that is a sum of APs: in AP points."""
    terms = [_finished(runs, results).assign(term=k, weight=runs["weight"]) for k, runs in enumerate(claim["runs"])]
    runs = pd.concat(terms, ignore_index=True)
    runs["weight"] /= runs.groupby("term")["trained on"].transform("nunique")  # of a term, all runs weigh the same
    found, seeds = contrast(runs, draws)
    because = f"{seeds} seeds" if seeds > 1 else "one seed"
    if runs.groupby(["evaluated on", "run"])["weight"].sum().abs().max() < 1e-12:
        because = "both are the same run"
    elif verdict_of(found) == OPEN:
        because += "; 0 is in the interval"
    return found, found, because


def contrast(runs: pd.DataFrame, draws: DrawsOf) -> tuple[np.ndarray, int]:
    """The weighted sum of mean APs in AP points, its draws (1 + B,), averaged over common seeds; how many they are.

    ``runs``: results with ``weight`` and ``term``, which tells runs of one name apart. Raises Missing as ``stacked``.
    """
    number = runs.groupby(["term", "trained on"]).ngroup()
    found = stacked(runs.assign(**{"run compared": number}), draws, "run compared")
    weights = runs.groupby(number)["weight"].first().to_numpy()
    return 100 * weights @ found.ap[..., _MEAN], found.seeds


def verdict_of(values: np.ndarray) -> str:
    """On the claim that a number with its draws, (1 + B,), is above 0."""
    low, high = percentiles(values[1:])
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN


def _runs_of(claim: Claim, results: Results) -> str:
    ids = []
    for runs in claim["runs"]:
        with contextlib.suppress(Missing):  # told as the reason of the verdict
            ids += _select(runs, results).dropna(subset="ap")["run"].tolist()
    return " ".join(dict.fromkeys(ids))


def _finished(runs: Claim, results: Results) -> pd.DataFrame:
    """The rows of the mean AP of the runs selected that have results; raises Missing if a run has none for any seed."""
    found = _select(runs, results).query("`class` == @MEAN")
    done = found.dropna(subset="ap")
    failed = found[~found["trained on"].isin(done["trained on"])]
    if len(failed):
        raise Missing("{trained on}: {state}".format_map(failed.iloc[0]))
    return done


def _select(runs: Claim, results: Results) -> pd.DataFrame:
    """The rows of the runs with the factors and evaluation set that a claim names; raises Missing without any."""
    rows, on = results.get(runs["experiment"]), runs["evaluated_on"]
    if rows is None or rows.empty:
        raise Missing(f"the experiment {runs['experiment']} was not run")
    for factor, wanted in runs["where"].items():
        values = rows[factor].unique().tolist()
        if wanted == "between" and len(values) < 3:
            raise Missing(f"found {sorted(values)}, expected at least three values to compare")
        value = CHOICES[wanted](values) if wanted in CHOICES else wanted
        if value not in values:
            raise Missing(f"no run with {factor.replace('_', ' ')} {value}")
        rows = rows[rows[factor] == value]
    found = rows[rows["evaluated on"] == on]
    if found.empty:
        names = rows["trained on"].unique() if "trained on" in rows else ["the paper"]
        raise Missing(f"{' '.join(names)}: no result on {on}")
    return found


def _persons_last_longer(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
    """Figure 4: how far the removal limit of persons is above the median of the other classes' (percent removed)."""
    runs = stacked(_select(claim["runs"][0], results), draws, "threshold")
    limits = pd.DataFrame(at(runs.values, last_near_highest(runs.ap)), columns=NAMES)
    lead = limits["person"] - limits.drop(columns=["person", MEAN]).median(axis=1)
    if np.isnan(lead[0]):
        raise Missing("AP is 0 or unknown, so there is no limit, for persons or for all others")
    return lead.to_numpy(), lead.to_numpy(), "by trained thresholds, as in Figure 4; the median of the other classes"


def _same_effective_rate(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
    """Figure 6: by how many decades of lr / (1 - m) the maxima of both momenta are apart; decided at half a decade."""
    rows = _select(claim["runs"][0], results)
    momenta = sorted(rows["momentum"].unique().tolist())
    if len(momenta) < 2:
        raise Missing(f"found momentum {momenta}, expected two")
    first, second = (_peak(rows[rows["momentum"] == momentum], draws) for momentum in (momenta[0], momenta[-1]))
    apart = second - first
    return apart, 0.5 - np.abs(apart), "of rates tried; holds within half a decade, the same nominal rate would be 1"


def _peak(rows: pd.DataFrame, draws: DrawsOf) -> np.ndarray:
    """log10 of the effective learning rate with the highest AP of one momentum, and of its draws: ``(1 + B,)``."""
    runs, momentum, tried = stacked(rows, draws, "learning_rate"), rows["momentum"].iloc[0], rows["learning_rate"]
    best = runs.values[runs.ap[..., _MEAN].argmax(0)]
    if best[0] in (tried.min(), tried.max()):
        raise Missing(f"momentum {momentum:g}: the maximum is at the end of the grid, at learning rate {best[0]:g}")
    return np.log10(best / (1 - momentum))


RULES = {rule.__name__.removeprefix("_"): rule for rule in (_above_zero, _persons_last_longer, _same_effective_rate)}
"""How a claim is judged, by the name that ``claims.yaml`` has for it."""
