"""Section 4.1 of the paper: remove the smallest instances of each class, by thresholds in percent of the class.

``instances`` is always an instance table (:mod:`scapes.instances`), ``keep`` one boolean per row of it. No file is
touched: a removed instance is a row that training leaves out.
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
