"""The paper's tables from tidy results: pure functions of DataFrames."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from synlib import paper
from synlib.curation.harmonize import count_table
from synlib.labels import CLASSES
from synlib.study.data import NAMES, StudyData
from synlib.study.plan import Planned
from synlib.study.store import RunStore

DOMAINS = ("Synscapes", "Cityscapes")
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


def table1(intervals: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (section 3.3): AP in percent by training set (rows) and evaluation set (columns), beside the paper's.

    ``intervals``: :meth:`synlib.study.session.Study.results` of the experiment. With several seeds, ours and both
    ends of its interval are means over them, and a column gives the standard deviation between them.
    """
    ours = _means(intervals)
    seeds = intervals["seed"].nunique()
    rows = {}
    for trained in DOMAINS:
        row = {}
        for evaluated in DOMAINS:
            ap, low, high = ours.loc[(trained, evaluated), ["ap", "low", "high"]]
            row[evaluated, "ours"] = ap
            row[evaluated, "95 % interval"] = f"{low:.1f} – {high:.1f}"
            if seeds > 1:
                row[evaluated, f"spread over {seeds} seeds"] = ours.loc[(trained, evaluated), "spread"]
            row[evaluated, "paper"] = paper.TABLE1[trained, evaluated]
        rows[trained] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["evaluated on", ""])
    table.index.name = "trained on"
    return table


def kept_across_domains(intervals: pd.DataFrame) -> pd.DataFrame:
    """AP on the other domain over AP on the own one, for each training set, ours and the paper's."""
    ours = _means(intervals)["ap"]
    rows = {}
    for own, other in (DOMAINS, DOMAINS[::-1]):
        published = paper.TABLE1[own, other] / paper.TABLE1[own, own]
        rows[f"trained on {own}, evaluated on {other}"] = {
            "ours": ours[own, other] / ours[own, own] if ours[own, own] else float("nan"),
            "paper": published,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _means(intervals: pd.DataFrame) -> pd.DataFrame:
    mean = intervals[intervals["class"] == "mean"]
    grouped = mean.groupby(["trained on", "evaluated on"])
    return grouped[["ap", "low", "high"]].mean().assign(spread=grouped["ap"].std())


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
    return pd.DataFrame(columns)


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


def formatted(table: pd.DataFrame, precision: int = 1) -> Styler:
    """``table`` styled for display: whole numbers as such, others to ``precision`` digits, missing values as a dash."""

    def shown(value: Any) -> str:
        if isinstance(value, str):
            return value
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.{precision}f}"

    return table.style.format(shown, na_rep="–")
