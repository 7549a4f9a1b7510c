"""The paper's tables from tidy results: pure functions of DataFrames."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from scapes.labels import CLASSES
from synlib import paper
from synlib.curation.harmonize import count_table
from synlib.report.contrasts import FAILS, HOLDS, OPEN
from synlib.report.frames import INTERVAL, across_seeds, band
from synlib.runs.store import RunStore
from synlib.study.data import NAMES, StudyData
from synlib.study.plan import Planned

DOMAINS = ("Synscapes", "Cityscapes")
VERDICTS = {HOLDS: ("✓", "#007a5a"), FAILS: ("✗", "#b34700"), OPEN: ("?", "#595959")}
"""Sign and colour of a verdict: dark enough for text, and told apart by those who are colour-blind."""
DOMAIN_OF = {name: domain for domain, name in NAMES.items()}
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


def table1(results: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (section 3.3): AP in percent by training set (rows) and evaluation set (columns), beside the paper's."""
    found = across_seeds(results, ["trained on"])
    cells = {
        (trained, on): (_pick(found, on, **{"trained on": trained}), paper.TABLE1[trained, on])
        for trained in DOMAINS
        for on in DOMAINS
    }
    return _beside(found, cells, ["trained on"], "evaluated on")


def table2(results: pd.DataFrame) -> pd.DataFrame:
    """Table 2 (section 4.1): AP without and with instance removal, by approach and evaluation set, beside the paper's.

    ``results``: of the experiment ``removal``. The last columns are what removal gains.
    """
    found = across_seeds(results, ["approach", "removal"])
    cells = {
        ((paper.APPROACHES[approach], on), f"removal {switch}"): (
            _pick(found, on, approach=approach, removal=switch),
            published[switch],
        )
        for (approach, on), published in paper.TABLE2.items()
        for switch in ("off", "on")
    }
    table = _beside(found, cells, ["training approach", "evaluated on"], "")
    for whose in ("ours", "paper"):
        table["gained by removal", whose] = table["removal on", whose] - table["removal off", whose]
    return table


def table3(results: pd.DataFrame, *, on: str = "Cityscapes") -> pd.DataFrame:
    """Table 3: AP in percent on Cityscapes by epochs (rows) and synthetic images added (columns), beside the paper's.

    ``results``: of the experiment ``amounts``. Each number of epochs has a row with ours, its interval (with several
    seeds, their spread and range), and the paper's.
    """
    found = across_seeds(results[results["evaluated on"] == on], ["epochs", "added"])
    epochs = _correspondence(found["epochs"].unique(), paper.TABLE3)
    added = _correspondence(found["added"].unique(), next(iter(paper.TABLE3.values())))
    rows: dict[tuple[str, str], dict] = {}
    for _, row in found.sort_values(["epochs", "added"]).iterrows():
        label = _label(row["epochs"], epochs[row["epochs"]], "epochs")
        column = _label(row["added"], added[row["added"]], "images")
        published = paper.TABLE3.get(epochs[row["epochs"]], {}).get(added[row["added"]], float("nan"))
        for kind, value in _ours(row, found).items():
            rows.setdefault((label, kind), {})[column] = value
        rows.setdefault((label, "paper"), {})[column] = published
    table = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(list(rows), names=["trained for", ""]))
    return table.rename_axis(columns="synthetic images added")


def best_within(runs: pd.DataFrame, iterations: float) -> pd.Series | None:
    """The row of ``runs`` (columns ``ap``, ``iterations``) with the highest AP of those that take no more iterations.

    Of equal ones the shortest; None if there is none. Table 4 is this for Table 3.
    """
    affordable = runs[(runs["iterations"] <= iterations) & runs["ap"].notna()]
    if affordable.empty:
        return None
    return affordable.sort_values(["ap", "iterations"], ascending=[False, True]).iloc[0]


def table4(results: pd.DataFrame, budgets: Sequence[int] = (), *, on: str = "Cityscapes") -> pd.DataFrame:
    """Table 4: the best run of Table 3 within a number of iterations, and what it was trained on, beside the paper's.

    ``results``: of the experiment ``amounts``. ``budgets``: iterations allowed; default: the paper's, each the same
    share of the longest run as in the paper, and then its row stands beside ours.
    Column ``by its Table 3``: what the paper's Table 4 would be by its Table 3.
    """
    found = across_seeds(results[results["evaluated on"] == on], ["epochs", "added", "iterations"])
    published = pd.DataFrame(paper.table3_rows())
    share = results["iterations"].max() / published["iterations"].max()
    pairs = [(budget, None) for budget in budgets] or [(_round(share * b), b) for b in paper.TABLE4]
    rows = []
    for budget, papers in pairs:
        best = best_within(found, budget)
        row = {
            ("ours", "iterations allowed"): budget,
            ("ours", "best AP"): float("nan") if best is None else best["ap"],
        }
        row["ours", band(found)] = _interval(best, found)
        row["ours", "synthetic added"] = "–" if best is None else f"{best['added']:,.0f}"
        row["ours", "epochs"] = "–" if best is None else f"{best['epochs']:g}"
        if papers:
            ap, added = paper.TABLE4[papers]
            row["paper", "iterations allowed"], row["paper", "best AP"] = papers, ap
            row["paper", "synthetic added"] = _thousands(added)
            row["paper", "by its Table 3"] = best_within(published, papers)["ap"]
        rows.append(row)
    table = pd.DataFrame(rows)
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table.set_index(("ours", "iterations allowed")).rename_axis("iterations allowed")


def table5(results: pd.DataFrame) -> pd.DataFrame:
    """Table 5 (section 4.3): AP after each step of the fine-tuning approach, beside the paper's.

    ``results``: of the experiment ``steps``; a step means "in addition to the previous ones" where it begins with +.
    """
    found = across_seeds(results, ["step"])
    cells = {
        (label, on): (_pick(found, on, step=step), paper.TABLE5[step][on])
        for step, label in paper.STEPS.items()
        for on in DOMAINS
    }
    return _beside(found, cells, ["step, as the paper calls it"], "evaluated on")


def kept_across_domains(results: pd.DataFrame) -> pd.DataFrame:
    """AP on the other domain over AP on the own one, for each training set, ours and the paper's."""
    ours = across_seeds(results, ["trained on"]).set_index(["trained on", "evaluated on"])["ap"]
    rows = {}
    for own, other in (DOMAINS, DOMAINS[::-1]):
        published = paper.TABLE1[own, other] / paper.TABLE1[own, own]
        rows[f"trained on {own}, evaluated on {other}"] = {
            "ours": ours[own, other] / ours[own, own] if ours[own, own] else float("nan"),
            "paper": published,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def per_class(results: pd.DataFrame) -> pd.DataFrame:
    """AP by class (columns) for each training and evaluation set, averaged over seeds."""
    table = results.pivot_table(
        index=["trained on", "evaluated on"], columns="class", values="ap", aggfunc="mean", dropna=False
    )
    return table[[*CLASSES, "mean"]]


def instance_counts(data: StudyData) -> pd.DataFrame:
    """Instances by class in the training split of each domain, in all and per image; groups are counted apart."""
    columns = {}
    for name, table in data.training_instances().items():
        single = table[~table["crowd"]]
        counts = single["category"].value_counts().reindex(range(len(CLASSES)), fill_value=0)
        images = len(data.images(DOMAIN_OF[name], "train"))
        columns[name] = dict(zip(CLASSES, counts, strict=True)) | {
            "all": len(single),
            "images": images,
            "per image": len(single) / images,
            "median area (px)": single["area_px"].median(),
            "groups": int(table["crowd"].sum()),
            "per image in the paper": paper.INSTANCES[name] / paper.INSTANCE_IMAGES,
        }
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})  # counts stay int


def harmonization_counts(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """What section 3.2 did to Synscapes, from the manifest of the harmonised tree: events (rows) by class (columns)."""
    table = count_table(manifest)
    return table.reindex(index=[e for e in EVENTS if e in table.index], columns=CLASSES, fill_value=0).rename(
        index=EVENTS
    )


def runs(store: RunStore, planned: Sequence[Planned]) -> pd.DataFrame:
    """The runs of an experiment: id, training set, seed, iterations, epochs, state and folder."""
    rows = [
        {
            "run": item.spec.run_id,
            "trained on": item.name,
            "seed": item.spec.seed,
            "iterations": item.spec.schedule.iterations,
            "epochs": item.spec.epochs,
            "state": store.run(item.spec).state(),
        }
        for item in planned
    ]
    return pd.DataFrame(rows).set_index("run")


def claims(judged: pd.DataFrame) -> Styler:
    """:func:`synlib.report.verdicts.summary` for display: a claim a row, its verdict with a sign and in colour."""
    points = judged["unit"] == "AP points"
    table = pd.DataFrame(
        {
            "section": judged["section"] + ", " + judged["shown in"],
            "claim": judged["claim"].where(points, judged["claim"] + " (" + judged["unit"] + ")"),
            "paper": judged["paper"],
            "ours": judged["ours"],
            INTERVAL: [_interval(row) for _, row in judged.iterrows()],
            "verdict": [f"{VERDICTS[verdict][0]} {verdict}" for verdict in judged["verdict"]],
            "because": judged["because"],
        }
    )
    colors = dict(VERDICTS.values())
    words = ["section", "claim", "verdict", "because"]
    styled = formatted(table).map(lambda text: f"color: {colors[text[0]]}; font-weight: bold", subset=["verdict"])
    styled = styled.set_properties(subset=words, **{"text-align": "left", "white-space": "normal"})
    styled = styled.set_properties(subset=["claim"], **{"max-width": "24em"})
    styled = styled.set_properties(subset=["because"], **{"max-width": "11em"})
    styled = styled.set_properties(subset=["section", INTERVAL, "verdict"], **{"white-space": "nowrap"})
    left = [{"selector": f"th.col{table.columns.get_loc(word)}", "props": "text-align: left"} for word in words]
    return styled.set_table_styles(left)


def formatted(table: pd.DataFrame, precision: int = 1) -> Styler:
    """``table`` styled for display: numbers to ``precision`` digits, counts (integers) as such, missing ones as a dash.

    Row numbers are not shown. AP 2.0 stays "2.0": a column that holds both counts and others has the type object.
    """

    def shown(value: Any) -> str:
        if isinstance(value, str | bool | np.bool_):
            return str(value)
        return f"{value:,d}" if isinstance(value, Integral) else _number(value, precision)

    styled = table.style.format(shown, na_rep="–")
    return styled.hide() if isinstance(table.index, pd.RangeIndex) else styled


def _number(value: float, digits: int = 1) -> str:
    """With that many digits, and zero without a sign."""
    return f"{round(value, digits) + 0:,.{digits}f}"


def _pick(found: pd.DataFrame, on: str, **factors: Any) -> pd.Series | None:
    """The row of :func:`across_seeds` with these factors, or None."""
    chosen = found["evaluated on"] == on
    for factor, value in factors.items():
        chosen &= found[factor] == value
    return found[chosen].iloc[0] if chosen.any() else None


def _beside(
    found: pd.DataFrame, cells: Mapping[tuple, tuple[pd.Series | None, float]], index: list[str], columns: str
) -> pd.DataFrame:
    """(row, column) -> (ours of ``found``, the paper's) as a table; what has no result is missing."""
    rows: dict[Any, dict] = {}
    for (row, column), (ours, published) in cells.items():
        values = rows.setdefault(row, {})
        values.update({(column, kind): value for kind, value in _ours(ours, found).items()})
        values[column, "paper"] = published
    names = [key if isinstance(key, tuple) else (key,) for key in rows]
    table = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(names, names=index))
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=[columns, ""])
    return table if len(index) > 1 else table.set_index(table.index.get_level_values(0))


def _ours(row: pd.Series | None, found: pd.DataFrame) -> dict[str, Any]:
    """AP of a row of ``found`` (:func:`across_seeds`) and its interval; with several seeds, their spread and range."""
    ap, spread = (float("nan"), float("nan")) if row is None else (row["ap"], row["spread"])
    between = {f"spread over {found['seeds'].max()} seeds": spread} if (found["seeds"] > 1).any() else {}
    return {"ours": ap} | between | {band(found): _interval(row, found)}


def _interval(ours: pd.Series | None, found: pd.DataFrame | None = None) -> str:
    """``low – high`` of a row, or a dash; with the number of seeds where others of ``found`` have more."""
    if ours is None or pd.isna(ours["low"]):
        return "–"
    fewer = ""
    if found is not None and ours["seeds"] < found["seeds"].max():
        fewer = f" ({ours['seeds']} of {found['seeds'].max()})"
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
    return f"{value / 1000:g}k"


def _round(value: float) -> int:
    """To two significant digits."""
    return int(float(f"{value:.2g}"))
