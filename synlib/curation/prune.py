"""Section 4.1 of the paper: remove the smallest instances of each class, by thresholds in percent of the class.

``instances`` is always an instance table (:mod:`scapes.instances`), ``keep`` one boolean per row of it. No file is
touched: a removed instance is a row that training leaves out.

Sizes, the argument of the section, are compared as fractions of the image area: domains have label maps of different
resolution.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from synlib.spec import removal_fractions

IMAGE_KEY = ["dataset", "split", "image_id"]


def prune(instances: pd.DataFrame, fractions: float | Mapping[str, float]) -> pd.Series:
    """Which instances stay when the smallest of each class are removed: boolean Series with the index of ``instances``.

    ``fractions``: one number in [0, 1] for all classes, or ``{class name: number}`` (other classes: 0). Of the n
    instances of a class in the whole table, the ``round(fraction * n)`` (halves up) of the smallest ``area_px`` are
    removed. Equal areas: first those that come first by (data set, split, image id, instance id), whatever the order of
    the rows; a larger fraction removes a superset. Groups (``crowd``) are neither counted nor removed.

    Raises ``ValueError`` for an unknown class or a fraction outside [0, 1].
    """
    fractions = removal_fractions(fractions)
    chosen = np.array([fractions[name] for name in CLASSES])[instances["category"].to_numpy(int)]
    return removed_from(instances) > chosen


def removed_from(instances: pd.DataFrame) -> pd.Series:
    """The smallest fraction at which :func:`prune` removes each instance: float64, inf for groups.

    Of n instances of a class, the one of rank r (0: the smallest) goes as soon as ``round(fraction * n)`` exceeds r.
    """
    candidates = instances.reset_index(drop=True)[~instances["crowd"].to_numpy()]
    candidates = candidates.sort_values(["category", "area_px", *IMAGE_KEY, "instance_id"])
    of_class = candidates.groupby("category")["area_px"]
    limits = np.full(len(instances), np.inf)
    limits[candidates.index] = (of_class.cumcount() + 0.5 - 1e-9) / of_class.transform("size")
    return pd.Series(limits, index=instances.index)


def prune_report(instances: pd.DataFrame, keep: pd.Series) -> pd.DataFrame:
    """What was removed: one row per class and a last row ``all``, groups not counted.

    Columns: ``before``, ``after``, ``removed`` (numbers of instances), ``removed_fraction``, ``cutoff_px`` (area of the
    largest removed instance, 0 if none), ``emptied_images`` (that had instances of the class and have none left).
    """
    counted = instances[~instances["crowd"]].assign(keep=keep)
    groups = {name: counted[counted["category"] == number] for number, name in enumerate(CLASSES)}
    rows = {name: _report_row(rows) for name, rows in (groups | {"all": counted}).items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _report_row(instances: pd.DataFrame) -> dict:
    gone = instances.loc[~instances["keep"], "area_px"]
    return {
        "before": len(instances),
        "after": len(instances) - len(gone),
        "removed": len(gone),
        "removed_fraction": len(gone) / max(1, len(instances)),
        "cutoff_px": int(gone.max()) if len(gone) else 0,
        "emptied_images": int((~instances.groupby(IMAGE_KEY)["keep"].any()).sum()),
    }


def size_distribution(instances: pd.DataFrame, images: pd.DataFrame, keep: pd.Series | None = None) -> pd.DataFrame:
    """Histogram of sizes: one row per (``dataset``, ``class``, ``stage``, bin), empty bins included, without groups.

    ``stage`` is ``before`` for all instances and, where ``keep`` is given, ``after`` for those that it marks. The 21
    bins are powers of two of the image area: the last is (1/2, 1], the first everything up to 2^-20, two pixels of a
    2048x1024 image. Columns ``area_from``, ``area_to`` (fractions of the image area), ``instances``, ``per_image``.

    Raises KeyError for an instance of an image that is not in ``images``.
    """
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-20, 1)])
    image_px = images.set_index(IMAGE_KEY).eval("height * width").loc[pd.MultiIndex.from_frame(instances[IMAGE_KEY])]
    sizes = instances.assign(area_fraction=instances["area_px"].to_numpy() / image_px.to_numpy())[~instances["crowd"]]
    stages = {"before": sizes} | ({} if keep is None else {"after": sizes[keep[sizes.index]]})
    tables = []
    for dataset, number_of_images in images["dataset"].value_counts(sort=False).items():
        for category, name in enumerate(CLASSES):
            for stage, rows in stages.items():
                own = rows.loc[(rows["dataset"] == dataset) & (rows["category"] == category), "area_fraction"]
                counts = np.histogram(-own, -edges[::-1])[0][::-1]  # negated: bins are open below, closed above
                table = pd.DataFrame({"dataset": dataset, "class": name, "stage": stage, "area_from": edges[:-1]})
                tables.append(table.assign(area_to=edges[1:], instances=counts, per_image=counts / number_of_images))
    return pd.concat(tables, ignore_index=True)
