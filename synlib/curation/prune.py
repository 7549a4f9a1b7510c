"""Section 4.1 of the paper: remove the smallest instances of each class, by thresholds in percent of the class.

``instances`` is always an instance table (:mod:`scapes.instances`), ``keep`` one boolean per row of it. No file is
touched: a removed instance is a row that training leaves out.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scapes.labels import CLASSES

IMAGE_KEY = ["dataset", "split", "image_id"]


def prune(
    instances: pd.DataFrame, fractions: float | Mapping[str, float], criterion: str = "size", seed: int = 0
) -> pd.Series:
    """Which instances stay when the smallest of each class are removed: boolean Series with the index of ``instances``.

    ``fractions``: one number in [0, 1] for all classes, or ``{class name: number}`` (other classes: 0). Of the n
    instances of a class in the whole table, the ``round(fraction * n)`` (halves up) of the smallest ``area_px`` are
    removed. Equal areas: first those that come first by (data set, split, image id, instance id), whatever the order of
    the rows; a larger fraction removes a superset. Groups (``crowd``) are neither counted nor removed.

    ``criterion``: ``size``; beyond the paper, ``random`` (drawn with ``seed``), or a column: largest values go first.
    """
    chosen = pd.Series(fractions, CLASSES, dtype=float).fillna(0.0)
    return removed_from(instances, criterion, seed) > chosen.to_numpy()[instances["category"].to_numpy(int)]


def removed_from(instances: pd.DataFrame, criterion: str = "size", seed: int = 0) -> pd.Series:
    """The smallest fraction at which :func:`prune` removes each instance: float64, inf for groups."""
    candidates = instances.reset_index(drop=True)[~instances["crowd"].to_numpy()]
    candidates = candidates.sort_values([*IMAGE_KEY, "instance_id"])  # draws do not depend on the order of the rows
    candidates["random"] = np.random.default_rng([seed, len(CLASSES)]).random(len(candidates))
    order = candidates["area_px"] if criterion == "size" else -candidates[criterion]
    of_class = order.groupby(candidates["category"])
    # Of n instances, the one of rank r (0: the smallest) goes as soon as round(fraction * n) exceeds r
    limits = (of_class.rank("first") - 0.5 - 1e-9) / of_class.transform("size")
    return limits.reindex(range(len(instances)), fill_value=np.inf).set_axis(instances.index).rename(None)


def prune_report(instances: pd.DataFrame, keep: pd.Series) -> pd.DataFrame:
    """What was removed: one row per class and a last row ``all``, groups not counted.

    Columns: ``before``, ``after``, ``removed (%)``, ``largest removed (px)`` (0 if none), ``images left without`` any.
    """
    counted = instances.assign(keep=keep, gone_px=instances["area_px"].where(~keep, 0))[~instances["crowd"]]
    names = counted["category"].map(dict(enumerate(CLASSES)))
    rows = pd.concat([counted.assign(name=names), counted.assign(name="all")])
    of_name = {"before": ("keep", "size"), "after": ("keep", "sum"), "largest removed (px)": ("gone_px", "max")}
    report = rows.groupby("name").agg(**of_name)
    report.insert(2, "removed (%)", 100 * (report["before"] - report["after"]) / report["before"])
    of_images = rows.groupby(["name", *IMAGE_KEY])["keep"].any().groupby("name")
    report["images left without"] = of_images.size() - of_images.sum()
    return report.reindex(pd.Index([*CLASSES, "all"]), fill_value=0).astype(object)  # counts stay integers


def size_distribution(instances: pd.DataFrame, images: pd.DataFrame, keep: pd.Series | None = None) -> pd.DataFrame:
    """Histogram of sizes of a data set's split: one row per (``stage``, ``class``, bin), empty bins included.

    ``stage`` is ``before`` for all instances but groups and, where ``keep`` is given, ``after`` for those it marks. The
    21 bins are powers of two of the image area: the last is (1/2, 1], the first everything up to 2^-20, two pixels of a
    2048x1024 image. Columns ``area_from``, ``area_to`` (fractions of the image area), ``instances``, ``per_image``.
    """
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-20, 1)])
    image_px = images.set_index("image_id").eval("height * width").loc[instances["image_id"]]
    bins = pd.cut(instances["area_px"].to_numpy() / image_px.to_numpy(), edges, labels=edges[1:])
    names = pd.Categorical.from_codes(instances["category"], CLASSES)
    sizes = instances.assign(**{"class": names, "area_to": bins})[~instances["crowd"]]
    stages = {"before": sizes} | ({} if keep is None else {"after": sizes[keep[sizes.index]]})
    counts = {stage: rows.groupby(["class", "area_to"], observed=False).size() for stage, rows in stages.items()}
    table = pd.concat(counts, names=["stage"]).reset_index(name="instances").astype({"class": str, "area_to": float})
    table.insert(2, "area_from", np.resize(edges[:-1], len(table)))
    return table.assign(per_image=table["instances"] / len(images))
