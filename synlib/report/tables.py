"""The paper's tables from tidy results: pure functions of DataFrames."""

import pandas as pd

from synlib import paper
from synlib.labels import CLASSES

DOMAINS = ("Synscapes", "Cityscapes")


def table1(results: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (section 3.3): AP by training set (rows) and evaluation set (columns), ours beside the paper's.

    ``results``: :meth:`synlib.study.session.Study.results` of the experiment. With several seeds ours is their mean, and
    ``spread`` is their standard deviation (missing with one seed).
    """
    mean = results[results["class"] == "mean"]
    ours = mean.groupby(["trained on", "evaluated on"])["ap"].agg(["mean", "std", "count"])
    rows = {}
    for trained in DOMAINS:
        row = {}
        for evaluated in DOMAINS:
            cell = ours.loc[(trained, evaluated)]
            row[evaluated, "ours"] = cell["mean"]
            row[evaluated, "spread"] = cell["std"]
            row[evaluated, "paper"] = paper.TABLE1[trained, evaluated]
        rows[trained] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(table.columns, names=["evaluated on", ""])
    table.index.name = "trained on"
    return table


def per_class(results: pd.DataFrame) -> pd.DataFrame:
    """AP by class (columns) for each training and evaluation set, averaged over seeds."""
    table = results.pivot_table(index=["trained on", "evaluated on"], columns="class", values="ap", aggfunc="mean", dropna=False)
    return table[[*CLASSES, "mean"]]


def instance_counts(instances: dict[str, pd.DataFrame], images: dict[str, int]) -> pd.DataFrame:
    """Instances by class for each data set, in all and per image; groups are counted apart.

    ``instances``: data set -> instance table; ``images``: data set -> number of images.
    """
    columns = {}
    for name, table in instances.items():
        single = table[~table["crowd"]]
        counts = single["category"].value_counts().reindex(range(len(CLASSES)), fill_value=0)
        column = dict(zip(CLASSES, counts, strict=True))
        column |= {"all": len(single), "per image": len(single) / images[name], "groups": int(table["crowd"].sum())}
        columns[name] = column | {"median area (px)": single["area_px"].median()}
    return pd.DataFrame(columns)


def formatted(table: pd.DataFrame, precision: int = 1):
    """``table`` styled for display: numbers to ``precision`` digits, missing values as a dash."""
    return table.style.format(precision=precision, na_rep="–")
