"""The paper's tables, styled for a notebook; the table itself is in ``.data`` of each Styler.

Tables 1 to 5 are made from results (:mod:`synlib.report.frames`) of the experiments ``table1``, ``removal``,
``amounts`` (both 3 and 4) and ``steps``: AP in percent beside the paper's.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from scapes import cityscapes
from scapes.bootstrap import MEAN, draw, over_seeds, percentiles
from scapes.labels import CLASSES
from scapes.match import BAND, match_data_set
from synlib import paper
from synlib.curation.harmonize import count_table
from synlib.curation.prune import prune, prune_report
from synlib.profile import Profile
from synlib.report.frames import INTERVAL, across_seeds, band, published
from synlib.report.limits import range_text
from synlib.report.style import named
from synlib.runs.store import RunStore
from synlib.study.data import DOMAINS, NAMES, StudyData
from synlib.study.plan import Planned
from synlib.study.study import Study


def table1(results: pd.DataFrame) -> Styler:
    """Table 1 (section 3.3): AP by training set (rows) and evaluation set, and what is kept on the other data set."""
    table = _beside(results, published()["table1"], ["trained on"], "evaluated on")
    for whose in ("ours", "paper"):
        ap = table.xs(whose, axis=1, level=1).astype(float)
        own = np.diag(ap)  # rows and columns have the same order
        table["kept (%)", whose] = 100 * (ap.sum(axis=1, skipna=False) - own) / np.where(own > 0, own, np.nan)
    return shown(table, "table1")


def table2(results: pd.DataFrame) -> Styler:
    """Table 2 (section 4.1): AP without and with instance removal, by approach and evaluation set, and the gain."""
    table = _beside(results, published()["removal"], ["approach", "evaluated on"], "removal")
    table = table.rename(index=paper.APPROACHES, columns={"off": "removal off", "on": "removal on"})
    for whose in ("ours", "paper"):
        table["gained by removal", whose] = table["removal on", whose] - table["removal off", whose]
    return shown(table.rename_axis(index=["training approach", "evaluated on"], columns=["", ""]), "table2")


def table3(results: pd.DataFrame) -> Styler:
    """Table 3 (section 4.2): AP on Cityscapes by epochs (rows) and synthetic images added (columns)."""
    papers = results[["epochs", "added"]].drop_duplicates().sort_values(["epochs", "added"])
    results = results[results["evaluated on"] == "Cityscapes"]
    epochs = _stand_for(papers["epochs"].unique(), paper.TABLE3)
    added = _stand_for(papers["added"].unique(), paper.TABLE3[50])
    papers["ap"] = [paper.TABLE3.get(epochs.get(e), {}).get(added.get(a), np.nan) for e, a in papers.to_numpy()]
    table = _beside(results, papers, ["epochs"], "added").stack(level=1, future_stack=True)
    table = table.rename(index=lambda value: _label(value, epochs.get(value), "epochs"), level=0)
    table = table.rename(columns=lambda value: _label(value, added.get(value), "images"))
    return shown(table.rename_axis(index=["trained for", ""], columns="synthetic images added"), "table3")


def table4(results: pd.DataFrame) -> Styler:
    """Table 4 (section 4.2): the best run of Table 3 within a number of iterations, and what it was trained on.

    Iterations allowed are the same share of the longest run as in the paper, to two digits.
    """
    found = across_seeds(results[results["evaluated on"] == "Cityscapes"], ["epochs", "added", "iterations"])
    share = results["iterations"].max() / published()["amounts"]["iterations"].max()
    allowed = {int(float(f"{share * iterations:.2g}")): iterations for iterations in paper.TABLE4}
    best = best_within(found, list(allowed))
    ap, added = zip(*map(paper.TABLE4.get, allowed.values()), strict=True)
    columns = {
        ("best AP", "ours"): linked(best["ap"], best["run"]),
        ("best AP", band(found)): intervals(best, found["seeds"].max()),
        ("best AP", "paper"): ap,
        ("synthetic images added", "ours"): best["added"].map("{:,.0f}".format, na_action="ignore"),
        ("synthetic images added", "paper"): [f"{images:,}" for images in added],
        ("epochs", "ours"): best["epochs"].map("{:g}".format, na_action="ignore"),
    }
    table = pd.DataFrame(columns).set_axis([_label(*pair, "iterations") for pair in allowed.items()])
    return shown(table.rename_axis("allowed"), "table4")


def best_within(runs: pd.DataFrame, iterations: Sequence[float]) -> pd.DataFrame:
    """The row of ``runs`` (columns ``ap``, ``iterations``) with the highest AP that takes no more than ``iterations``.

    One row per number of ``iterations``, ``taken`` by the shortest of equals; missing values where all runs take more.
    """
    ranked = runs.dropna(subset="ap").sort_values(["ap", "iterations"], ascending=[False, True])
    best = {place: ranked[ranked["iterations"] <= allowed].head(1) for place, allowed in enumerate(iterations)}
    return pd.concat(best).droplevel(1).reindex(range(len(iterations))).rename(columns={"iterations": "taken"})


def table5(results: pd.DataFrame) -> Styler:
    """Table 5 (section 4.3): AP after each step of the fine-tuning approach; + is in addition to those before."""
    table = _beside(results, published()["steps"], ["step"], "evaluated on")
    return shown(table.rename(index=paper.STEPS).rename_axis(index="step, as the paper calls it"), "table5")


def boundary(bars: pd.DataFrame, study: Study) -> Styler:
    """AP of Figure 1's ``bars`` beside boundary AP (:mod:`scapes.match`) of the same runs, from their predictions."""
    sets, rows = {on.name: on for on in study.data.evaluation_sets()}, []
    for bar in bars.dropna(subset="ap").to_dict("records"):
        on = sets[bar["evaluated on"]]
        images, how = cityscapes.read_images(on.root, on.split), {"min_area_px": on.min_area_px, "band": BAND}
        paths = [study.store.run(run).evaluation(on.name) / "predictions.parquet" for run in bar["run"].split()]
        records = [match_data_set(images, path, progress=False, **how) for path in paths if path.exists()]
        draws = [draw(each, resamples=200) for each in records]  # of seeds that have not diverged
        low, high = 100 * percentiles(over_seeds(np.array([each.drawn[:, -1] for each in draws])))
        ap = 100 * np.mean([each.value[-1] for each in draws])
        rows.append(bar | {"boundary AP": ap, "kept (%)": 100 * ap / (bar["ap"] or np.nan), "low": low, "high": high})
    table = pd.DataFrame(rows, columns=["approach", "evaluated on", "ap", "boundary AP", "low", "high", "kept (%)"])
    table = table.set_index(["approach", "evaluated on"]).assign(**{INTERVAL: intervals}).rename(columns={"ap": "AP"})
    return shown(table[["AP", "boundary AP", INTERVAL, "kept (%)"]], "boundary")


def matrix(results: pd.DataFrame) -> Styler:
    """AP and its interval by what was trained on (rows) and evaluated on (columns); several seeds: their range.

    A run of several names has one row, and the first of them; both domains come before other evaluation sets.
    """
    results = results.drop_duplicates(["run", "evaluated on", "class"])
    table = across_seeds(results, ["trained on"])
    text = table["ap"].map("{:.1f} (".format) + intervals(table, table["seeds"].max()) + ")"
    table = table.assign(text=text.where(table["ap"].notna())).pivot(index="trained on", columns="evaluated on")["text"]
    order = sorted(table, key=lambda on: on not in NAMES.values())
    return shown(table.reindex(results["trained on"].unique(), columns=order).fillna("–"), "matrix")


def per_class(results: pd.DataFrame) -> Styler:
    """AP by class (columns) for each training and evaluation set, averaged over seeds, with a bar of its length."""
    rows = ["trained on", "evaluated on"]
    table = results.pivot_table("ap", rows, "class", aggfunc="mean", dropna=False, sort=False)[[*CLASSES, MEAN]]
    scale = "background-size: 3em 100% !important; background-repeat: no-repeat !important;"  # in wide columns, too
    return shown(table).bar(color="#0072b240", vmin=0, vmax=table.max(axis=None), axis=None, props=scale)


def instance_counts(data: StudyData) -> Styler:
    """Instances by class in the training split of each domain, in all and per image; groups are counted apart."""
    columns = {}
    for domain in DOMAINS:
        table, images = data.instances(domain, "train"), len(data.images(domain, "train"))
        single = table[~table["crowd"]]
        values = {name: (single["category"] == number).sum() for number, name in enumerate(CLASSES)}
        values |= {"all": len(single), "images": images, "per image": len(single) / images}
        values |= {"median area (px)": single["area_px"].median(), "groups": table["crowd"].sum()}
        values["per image in the paper"] = paper.INSTANCES[NAMES[domain]] / paper.INSTANCE_IMAGES
        columns[NAMES[domain]] = pd.Series(values, dtype=object)  # counts stay integers
    return shown(pd.DataFrame(columns))


def harmonization_counts(data: StudyData) -> Styler:
    """What section 3.2 did to Synscapes, from the manifest of the harmonised tree: events (rows) by class (columns)."""
    manifest = cityscapes.read_manifest(data.roots["synthetic"]) or {"counts": {}}  # without one, as it is
    table = count_table(manifest).reindex(columns=CLASSES, fill_value=0)
    return shown(table.loc[[event for event in paper.EVENTS if event in table.index]].rename(index=paper.EVENTS))


def limits(found: pd.DataFrame, profile: Profile) -> Styler:
    """The removal limits of Figure 4, ``found`` by :func:`synlib.report.limits.limits`, and between which thresholds.

    Column ``removed from here on``: the percentages that ``profile`` removes from section 4.2 on.
    """
    chosen = [np.nan if name == MEAN else profile.grids.removal.get(name, 0) for name in found["class"]]
    unknown = found["low"].isna() | found["paper"].isna()
    told = {"–": unknown, "higher": found["low"] > found["paper"], "lower": found["high"] <= found["paper"]}
    columns = {
        "limit (% removed)": list(map(range_text, found["limit"], found["below"])),
        INTERVAL: list(map(range_text, found["low"], found["high"])),
        "limit in the paper": found["paper"],
        "against the paper": np.select([*told.values()], [*told], "not told apart"),
        "removed from here on": chosen,
        "AP at the limit": found["ap"],
    }
    styled = shown(pd.DataFrame(columns).set_index(found["class"]))
    return styled.format("{:g}", na_rep="–", subset=["limit in the paper", "removed from here on"])


def removed_instances(data: StudyData, profile: Profile) -> Styler:
    """What the chosen thresholds remove of Synscapes: one row per class, "all", and the paper's "all".

    Columns as :func:`synlib.curation.prune.prune_report` has them.
    """
    instances = data.instances("synthetic", "train")
    table = prune_report(instances, prune(instances, profile.grids.removal_fractions()))
    before, after = (paper.INSTANCES[name] for name in ("Synscapes", "Synscapes pruned"))
    row = [before, after, 100 * (1 - after / before), np.nan, np.nan]
    table.loc["all, in the paper"] = pd.Series(row, table.columns, dtype=object)
    return shown(table)


def runs(store: RunStore, planned: Sequence[Planned]) -> Styler:
    """Columns of :meth:`RunStore.table` for the runs of experiments; ``name`` is a run's name in its experiment."""
    table = store.table(planned).set_index("run")
    table["name"] = table.index.map({item.spec.run_id: item.name for item in reversed(planned)})
    styled = shown(table[["name", "trained on", "seed", "iterations", "epochs", "state"]])
    styled.format_index('<span id="{0}">{0}</span>'.format)  # where :class:`Linked` numbers lead to
    left = [{"selector": "", "props": "text-align: left"}]  # of the heading, too
    return styled.set_table_styles(dict.fromkeys(["name", "trained on", "state"], left))


class Linked(float):
    """A number that knows its ``runs``, ids separated by blanks: :func:`shown` links it to the first of them."""

    def __new__(cls, number: float, runs: str) -> Self:
        linked = super().__new__(cls, number)
        linked.runs = runs
        return linked


def linked(numbers: pd.Series, runs: pd.Series) -> pd.Series:
    """The ``numbers`` as :class:`Linked` ones; where ``runs`` is missing, as they are."""
    pairs = zip(numbers, runs, strict=True)
    values = [Linked(number, ids) if isinstance(ids, str) else number for number, ids in pairs]
    return pd.Series(values, numbers.index, dtype=object)


def shown(table: pd.DataFrame, name: str = "table") -> Styler:
    """Numbers to one digit, integers as such, missing ones as a dash, no row numbers; ``name``: of its files."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return value
        text = f"{value:,d}" if isinstance(value, Integral) else f"{value:z,.1f}"  # z: zero without a sign
        link = '<a href="#{}" title="run {}">{}</a>'.format
        return link(value.runs.split()[0], value.runs, text) if isinstance(value, Linked) else text

    styled = table.style.format(text, na_rep="–", escape="html")
    hidden = isinstance(table.index, pd.RangeIndex)
    return named(styled.hide() if hidden else styled, name, **{name: table if hidden else table.reset_index()})


def _beside(results: pd.DataFrame, papers: pd.DataFrame, rows: list[str], columns: str) -> pd.DataFrame:
    """Mean AP by ``rows`` and ``columns``, in the order of ``papers``; what is not there is missing.

    Below each column: ``ours``, its interval (several seeds: their range) and ``paper``.
    """
    keys = [*rows, columns]
    found = across_seeds(results, [name for name in keys if name != "evaluated on"])
    table = papers.merge(found, "left", keys, suffixes=(" in the paper", "")).set_index(keys)
    ours, ends = linked(table["ap"], table["run"]), intervals(table, found["seeds"].max())
    table = pd.DataFrame({"ours": ours, band(found): ends, "paper": table["ap in the paper"]})
    order = pd.MultiIndex.from_product([table.index.unique(columns), table.columns], names=[columns, ""])
    return table.unstack().swaplevel(axis=1).reindex(table.index.droplevel(-1).unique())[order]


def intervals(table: pd.DataFrame, seeds: float = 1) -> pd.Series:
    """``low – high`` of each row, or a dash; with the number of its seeds where that is less than ``seeds``."""
    low, high = (table[end].map("{:z,.1f}".format) for end in ("low", "high"))
    have = table.get("seeds", pd.Series(seeds, table.index))
    fewer = have.map(f" ({{:.0f}} of {seeds})".format).where(have < seeds, "")
    return (low + " – " + high + fewer).str.replace("– -", "to -").where(table["low"].notna(), "–")


def _stand_for(ours: Iterable[float], published: Iterable[float]) -> dict[float, float]:
    """Our values of a factor -> the paper's that they stand for, if any.

    One to one if there are as many; else equal ones (to 2 %) if all of ours are among the paper's; else only the ends.
    """
    ours, published = sorted(ours), sorted(published)
    if len(ours) == len(published):
        return dict(zip(ours, published, strict=True))
    equal = {value: near for value in ours for near in published if math.isclose(value, near, rel_tol=0.02)}
    return equal if len(equal) == len(ours) or len(ours) == 1 else {ours[0]: published[0], ours[-1]: published[-1]}


def _label(ours: float, papers: float | None, unit: str) -> str:
    same = papers is None or math.isclose(ours, papers, rel_tol=0.02)
    unit = unit.removesuffix("s") if ours == 1 else unit
    return f"{ours:,g} {unit}" + ("" if same else f" (paper: {papers:,})".replace(",000", "k"))
