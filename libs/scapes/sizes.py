"""AP by the size of instances: small, medium and large ones.

Source: COCO's evaluation (``pycocotools/cocoeval.py``: ``evaluateImg``), but with bands that suit images of any size.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from scapes.ap import FALSE_POSITIVE, IGNORED, Outcomes, average_precision
from scapes.bootstrap import NAMES, summary

Bands = Mapping[str, tuple[float, float]]  # name -> half-open range of area [low, high) in pixels


def thirds(pooled: Outcomes) -> Bands:
    """Small, medium and large: each a third of the evaluated ground truth. Raises ValueError if there is none."""
    areas = pooled.truths["area_px"][pooled.truths["evaluated"]]
    if not len(areas):
        raise ValueError("found no evaluated ground truth, expected some to divide into thirds")
    ends = [0, *(1 + np.quantile(areas, [1 / 3, 2 / 3, 1], method="lower")).tolist()]
    return dict(zip(("small", "medium", "large"), itertools.pairwise(ends), strict=True))


def ap_by_size(pooled: Outcomes, bands_px: Bands) -> pd.DataFrame:
    """AP of the ground truth of each band of area: one row per band and class, and one for the mean over classes.

    As in COCO, ground truth outside the band absorbs detections, and a detection that matches nothing counts as a false
    positive only if its own area is inside the band.

    Columns: ``class``, ``size`` (the band's name), ``ap`` (fraction 0..1, over the ten overlaps; NaN where a class has
    no ground truth in the band), ``count`` (evaluated ground truths in the band).
    """
    tables = []
    for name, (low, high) in bands_px.items():
        found = average_precision(_restricted(pooled, low, high))
        count = np.append(found.truths, found.truths.sum())
        tables.append(pd.DataFrame({"class": NAMES, "size": name, "ap": summary(found.ap)[:, 0], "count": count}))
    return pd.concat(tables, ignore_index=True)


def _restricted(pooled: Outcomes, low: float, high: float) -> Outcomes:
    """With only the ground truth of areas ``[low, high)`` evaluated."""
    areas = (rows["area_px"] for rows in (pooled.truths, pooled.predictions))
    inside, counted = ((area >= low) & (area < high) for area in areas)
    truths = pooled.truths.copy()
    truths["evaluated"] &= inside
    # A detection counts where its ground truth does (-1 finds the appended False); without one, by its own area
    of_inside = np.append(inside, False)[pooled.prediction_truth]
    keep = np.where(pooled.outcome > FALSE_POSITIVE, of_inside[:, None], counted[:, None])
    return dataclasses.replace(pooled, truths=truths, outcome=np.where(keep, pooled.outcome, IGNORED))
