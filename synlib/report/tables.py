"""The paper's tables from tidy results, styled for a notebook; the table itself is in ``.data`` of each Styler."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from scapes.labels import CLASSES
from synlib import paper
from synlib.curation.harmonize import count_table
from synlib.curation.prune import prune, prune_report
from synlib.profile import Profile
from synlib.report.claims import FAILS, HOLDS, OPEN
from synlib.report.frames import INTERVAL, MEAN, across_seeds, band
from synlib.report.limits import limit_text
from synlib.runs.store import RunStore
from synlib.study.data import DOMAINS, NAMES, StudyData
from synlib.study.plan import Planned

VERDICTS = {
    HOLDS: ("✓", "var(--holds, #007a5a)"),
    FAILS: ("✗", "var(--fails, #b34700)"),
    OPEN: ("?", "var(--open, #595959)"),
}
"""Sign and colour of a verdict: dark enough for text, and told apart by those who are colour-blind. A page that can be
dark names its own colours (``templates/style.css``)."""
EVENTS = {
    "before": "instances before",
    "rider_added": "riders split from a vehicle",
    "vehicle_vanished": "vehicles left without pixels",
    "wheelchair": "persons made riders (wheelchairs)",
    "without_pixels": "listed without a pixel",
    "unknown_id": "in the map, not in the metadata",
    "disagreement": "class differs from the class map",
    "orphan_px": "pixels of vehicles without an instance",
    "after": "instances after",
}
"""Events of the manifest in the order in which a reader meets them, and their names in the table."""


def table1(results: pd.DataFrame) -> Styler:
    """Table 1 (section 3.3): AP in percent by training set (rows) and evaluation set (columns), beside the paper's."""
    published = pd.Series(paper.TABLE1).rename_axis(["trained on", "evaluated on"])
    return _shown(_beside(across_seeds(results, ["trained on"]), published))


def table2(results: pd.DataFrame) -> Styler:
    """Table 2 (section 4.1): AP without and with instance removal, by approach and evaluation set, beside the paper's.

    ``results``: of the experiment ``removal``. The last columns are what removal gains.
    """
    published = pd.DataFrame(paper.TABLE2).T.stack().rename_axis(["approach", "evaluated on", "removal"])
    table = _beside(across_seeds(results, ["approach", "removal"]), published)
    table = table.rename(index=paper.APPROACHES, columns={"off": "removal off", "on": "removal on"})
    for whose in ("ours", "paper"):
        table["gained by removal", whose] = table["removal on", whose] - table["removal off", whose]
    return _shown(table.rename_axis(index=["training approach", "evaluated on"], columns=["", ""]))


def table3(results: pd.DataFrame) -> Styler:
    """Table 3: AP in percent on Cityscapes by epochs (rows) and synthetic images added (columns), beside the paper's.

    ``results``: of the experiment ``amounts``. Each number of epochs has a row with ours, its interval (with several
    seeds, their spread and range), and the paper's.
    """
    found = across_seeds(results[results["evaluated on"] == "Cityscapes"], ["epochs", "added"])
    found = found.sort_values(["epochs", "added"])
    epochs = _correspondence(found["epochs"].unique(), paper.TABLE3)
    added = _correspondence(found["added"].unique(), next(iter(paper.TABLE3.values())))
    published = found.set_index(["epochs", "added"])["ap"] * float("nan")
    for ours in published.index:
        published[ours] = paper.TABLE3.get(epochs[ours[0]], {}).get(added[ours[1]], float("nan"))
    table = _beside(found, published).stack(level=1, future_stack=True)
    table = table.rename(index={value: _label(value, papers, "epochs") for value, papers in epochs.items()}, level=0)
    table = table.rename(columns={value: _label(value, papers, "images") for value, papers in added.items()})
    return _shown(table.rename_axis(index=["trained for", ""], columns="synthetic images added"))


def best_within(runs: pd.DataFrame, iterations: float) -> pd.Series | None:
    """The row of ``runs`` (columns ``ap``, ``iterations``) with the highest AP of those that take no more iterations.

    Of equal ones the shortest; None if there is none. Table 4 is this for Table 3.
    """
    affordable = runs[(runs["iterations"] <= iterations) & runs["ap"].notna()]
    if affordable.empty:
        return None
    return affordable.sort_values(["ap", "iterations"], ascending=[False, True]).iloc[0]


def table4(results: pd.DataFrame) -> Styler:
    """Table 4: the best run of Table 3 within a number of iterations, and what it was trained on, beside the paper's.

    ``results``: of the experiment ``amounts``. Iterations allowed are the same share of the longest run as in the
    paper. Column ``by its Table 3``: what the paper's Table 4 would be by its Table 3.
    """
    found = across_seeds(results[results["evaluated on"] == "Cityscapes"], ["epochs", "added", "iterations"])
    published = pd.DataFrame(paper.table3_rows())
    share = results["iterations"].max() / published["iterations"].max()
    rows = []
    for allowed, (ap, added) in paper.TABLE4.items():
        budget = int(float(f"{share * allowed:.2g}"))  # two significant digits
        best, by_table3 = best_within(found, budget), best_within(published, allowed)["ap"]
        ours = (
            (float("nan"), "–", "–") if best is None else (best["ap"], f"{best['added']:,.0f}", f"{best['epochs']:g}")
        )
        rows.append((budget, *ours, _interval(best, found), allowed, ap, _thousands(added), by_table3))
    ours = ["iterations allowed", "best AP", "synthetic added", "epochs", band(found)]
    papers = ["iterations allowed", "best AP", "synthetic added", "by its Table 3"]
    columns = [*(("ours", name) for name in ours), *(("paper", name) for name in papers)]
    table = pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(columns))
    return _shown(table.set_index(("ours", "iterations allowed")).rename_axis("iterations allowed"))


def table5(results: pd.DataFrame) -> Styler:
    """Table 5 (section 4.3): AP after each step of the fine-tuning approach, beside the paper's.

    ``results``: of the experiment ``steps``; a step means "in addition to the previous ones" where it begins with +.
    """
    published = pd.DataFrame(paper.TABLE5).T.stack().rename_axis(["step", "evaluated on"])
    table = _beside(across_seeds(results, ["step"]), published)
    return _shown(table.rename(index=paper.STEPS).rename_axis(index="step, as the paper calls it"))


def kept_across_domains(results: pd.DataFrame) -> Styler:
    """AP on the other domain divided by AP on the own one, for each training set of Table 1, ours and the paper's."""
    ours = across_seeds(results, ["trained on"]).set_index(["trained on", "evaluated on"])["ap"]
    rows = {
        f"trained on {own}, evaluated on {other}": {
            "ours": ours[own, other] / ours[own, own] if ours[own, own] else float("nan"),
            "paper": paper.TABLE1[own, other] / paper.TABLE1[own, own],
        }
        for own, other in paper.TABLE1
        if own != other
    }
    return _shown(pd.DataFrame.from_dict(rows, orient="index"), precision=2)


def per_class(results: pd.DataFrame) -> Styler:
    """AP by class (columns) for each training and evaluation set, averaged over seeds."""
    table = results.pivot_table(
        index=["trained on", "evaluated on"], columns="class", values="ap", aggfunc="mean", dropna=False, sort=False
    )
    return _shown(table[[*CLASSES, MEAN]])


def instance_counts(data: StudyData) -> Styler:
    """Instances by class in the training split of each domain, in all and per image; groups are counted apart."""
    columns = {}
    for domain in DOMAINS:
        table, images = data.instances(domain, "train"), len(data.images(domain, "train"))
        single = table[~table["crowd"]]
        counts = single["category"].value_counts().reindex(range(len(CLASSES)), fill_value=0)
        values = dict(zip(CLASSES, counts, strict=True)) | {
            "all": len(single),
            "images": images,
            "per image": len(single) / images,
            "median area (px)": single["area_px"].median(),
            "groups": int(table["crowd"].sum()),
            "per image in the paper": paper.INSTANCES[NAMES[domain]] / paper.INSTANCE_IMAGES,
        }
        columns[NAMES[domain]] = pd.Series(values, dtype=object)  # counts stay integers
    return _shown(pd.DataFrame(columns))


def harmonization_counts(data: StudyData) -> Styler:
    """What section 3.2 did to Synscapes, from the manifest of the harmonised tree: events (rows) by class (columns)."""
    table = count_table(data.manifest())
    table = table.reindex(index=[event for event in EVENTS if event in table.index], columns=CLASSES, fill_value=0)
    return _shown(table.rename(index=EVENTS))


def limits(found: pd.DataFrame) -> Styler:
    """The removal limits of Figure 4, ``found`` by :func:`synlib.report.limits.limits`: ≥ where one may be larger."""
    columns = {
        "limit in the paper": [f"{value:.0f}" if pd.notna(value) else "–" for value in found["paper"]],
        "AP at the limit": found["level"].to_list(),
        "AP lost for each 10 % after it": (10 * found["slope"]).to_list(),
    }
    return _shown(_limit_texts(found).assign(**columns).rename(columns={"limit": "limit (% removed)"}))


def chosen_thresholds(found: pd.DataFrame, profile: Profile) -> Styler:
    """Each class's limit (:func:`limits`) beside the percentages removed from section 4.2 on: ours and the paper's."""
    table = _limit_texts(found[found["class"] != MEAN])
    chosen = {
        "removed from here on": [float(profile.grids.removal.get(name, 0)) for name in table.index],
        "removed in the paper": [paper.limit(name) for name in table.index],
    }
    return _shown(table.assign(**chosen), precision=0)


def _limit_texts(found: pd.DataFrame) -> pd.DataFrame:
    texts = [limit_text(row) for _, row in found.iterrows()]
    return pd.DataFrame(texts, columns=["limit", INTERVAL], index=pd.Index(found["class"], name="class"))


def removed_instances(data: StudyData, profile: Profile) -> Styler:
    """What the chosen thresholds remove of Synscapes: one row per class, "all", and the paper's "all".

    Columns: instances ``before`` and ``after``, ``removed (%)``, ``largest removed (px)``, ``images left without``:
    images that had instances of the class and have none left.
    """
    instances = data.instances("synthetic", "train")
    fractions = {name: percent / 100 for name, percent in profile.grids.removal.items()}
    report = prune_report(instances, prune(instances, fractions)).loc[[*CLASSES, "all"]]
    columns = {
        "before": report["before"],
        "after": report["after"],
        "removed (%)": 100 * report["removed_fraction"],
        "largest removed (px)": report["cutoff_px"],
        "images left without": report["emptied_images"],
    }
    before, after = (paper.INSTANCES[name] for name in ("Synscapes", "Synscapes pruned"))
    published = {"before": before, "after": after, "removed (%)": 100 * (1 - after / before)}
    parts = pd.DataFrame(columns), pd.DataFrame(published, index=["all, in the paper"])
    return _shown(pd.concat([part.astype(object) for part in parts]))  # counts stay integers


def runs(store: RunStore, planned: Sequence[Planned]) -> Styler:
    """Columns of :meth:`RunStore.table` for the runs of experiments; ``name`` is a run's name in its experiment."""
    table = store.table(planned).set_index("run")
    table["name"] = table.index.map({item.spec.run_id: item.name for item in reversed(planned)})
    return _shown(table[["name", "trained on", "seed", "iterations", "epochs", "state"]])


def claims(judged: pd.DataFrame) -> Styler:
    """:func:`synlib.report.verdicts.verdicts` for display: one row per claim, its verdict with a sign and in colour.

    The caption counts the verdicts. ``.tables["claims"]``: ``judged``, as :func:`synlib.report.style.named` has it.
    """
    points = judged["unit"] == "AP points"
    columns = {
        "section": judged["section"] + ", " + judged["shown in"],
        "claim": judged["claim"].where(points, judged["claim"] + " (" + judged["unit"] + ")"),
        "paper": judged["paper"],
        "ours": judged["ours"],
        INTERVAL: [_interval(row) for _, row in judged.iterrows()],
        "verdict": [f"{VERDICTS[verdict][0]} {verdict}" for verdict in judged["verdict"]],
        "because": judged["because"],
    }
    table = pd.DataFrame(columns)
    signs = dict(VERDICTS.values())
    styled = _shown(table).map(lambda text: f"color: {signs[text[0]]}; font-weight: bold", subset=["verdict"])
    widths = {
        "section": "nowrap",
        "claim": "normal; min-width: 16em",
        "verdict": "nowrap",
        "because": "normal; min-width: 9em",
    }
    styles = [
        {"selector": f".col{table.columns.get_loc(name)}", "props": f"text-align: left; white-space: {width}"}
        for name, width in widths.items()
    ]
    styled = styled.set_table_styles(styles).set_caption(_counted(judged["verdict"]))
    styled.name, styled.tables = "claims", {"claims": judged}
    return styled


def _counted(found: pd.Series) -> str:
    """Such as ``5 claims: 4 hold, 1 not decided``."""
    plural = {HOLDS: "hold", FAILS: "do not hold", OPEN: OPEN}
    counts = found.value_counts()
    parts = [f"{counts[v]} {plural[v] if counts[v] > 1 else v}" for v in VERDICTS if v in counts]
    return f"{len(found)} claim{'s' * (len(found) != 1)}: {', '.join(parts)}"


def _shown(table: pd.DataFrame, precision: int = 1) -> Styler:
    """``table`` styled for display: numbers to ``precision`` digits, counts (integers) as such, missing ones as a dash.

    Row numbers are not shown. AP 2.0 stays "2.0": a column that holds both counts and others has the type object.
    """

    def shown(value: Any) -> str:
        if isinstance(value, str | bool | np.bool_):
            return str(value)
        return f"{value:,d}" if isinstance(value, Integral) else _number(value, precision)

    styled = table.style.format(shown, na_rep="–", escape="html")
    return styled.hide() if isinstance(table.index, pd.RangeIndex) else styled


def _number(value: float, digits: int = 1) -> str:
    """With that many digits, and zero without a sign."""
    return f"{round(value, digits) + 0:,.{digits}f}"


def _beside(found: pd.DataFrame, published: pd.Series) -> pd.DataFrame:
    """Ours beside the paper's, in the paper's order: by the last level of ``published`` (columns) and others (rows).

    ``found``: :func:`across_seeds` by these levels; what it lacks is missing. Several seeds: with spread and range.
    """
    ours = found.set_index(published.index.names).reindex(published.index)
    between = {f"spread over {found['seeds'].max()} seeds": ours["spread"]} if (found["seeds"] > 1).any() else {}
    intervals = [_interval(row, found) for _, row in ours.iterrows()]
    table = pd.DataFrame({"ours": ours["ap"]} | between | {band(found): intervals, "paper": published})
    rows, columns = published.index.droplevel(-1).unique(), published.index.unique(-1)
    table = table.unstack(-1).swaplevel(axis=1)
    order = pd.MultiIndex.from_product([columns, table.columns.unique(1)], names=[columns.name, ""])
    return table.loc[rows, order]


def _interval(ours: pd.Series | None, found: pd.DataFrame | None = None) -> str:
    """``low – high`` of a row, or a dash; with the number of seeds where others of ``found`` have more."""
    if ours is None or pd.isna(ours["low"]):
        return "–"
    fewer = ""
    if found is not None and ours["seeds"] < found["seeds"].max():
        fewer = f" ({ours['seeds']:.0f} of {found['seeds'].max()})"
    return f"{_number(ours['low'])} – {_number(ours['high'])}{fewer}"


def _correspondence(ours: Iterable[float], published: Iterable[float]) -> dict[float, float | None]:
    """Our values of a factor -> the paper's that they stand for, or None.

    By value if ours are among the paper's; else one to one if there are as many; else only the smallest to the smallest
    and the largest to the largest.
    """
    ours, published = sorted(float(value) for value in ours), sorted(published)
    near = {value: [p for p in published if abs(value - p) <= 0.02 * p] for value in ours}
    if all(near.values()):
        return {value: found[0] for value, found in near.items()}
    if len(ours) == len(published):
        return dict(zip(ours, published, strict=True))
    ends = {ours[0]: published[0], ours[-1]: published[-1]} if len(ours) > 1 else {}
    return {value: ends.get(value) for value in ours}


def _label(ours: float, papers: float | None, unit: str) -> str:
    name = _thousands(papers) if unit == "images" and papers is not None else f"{papers:g}" if papers else ""
    same = papers is not None and abs(ours - papers) <= 0.02 * papers
    return f"{ours:,g} {unit}" + ("" if same or not name else f" (paper: {name})")


def _thousands(value: float) -> str:
    """3000 -> ``3k``."""
    return f"{value / 1000:g}k" if value else "0"
