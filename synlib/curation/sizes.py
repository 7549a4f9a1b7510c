"""How large instances are, by class and domain, before and after pruning: the argument of section 4.1 as tidy tables.

Domains have label maps of different resolution, so sizes are compared as fractions of the image area. Groups are not
counted. ``stage`` is ``before`` for all instances of the table and ``after`` for those that ``keep`` marks.
"""

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from synlib.curation.prune import IMAGE_KEY

STAGES = ("before", "after")


def size_distribution(
    instances: pd.DataFrame, images: pd.DataFrame, keep: pd.Series | None = None, *, bins: int = 21
) -> pd.DataFrame:
    """Histogram of sizes: one row per (``dataset``, ``class``, ``stage``, bin), empty bins included.

    Bins are powers of two of the image area: the last is (1/2, 1], the first everything up to ``2 ** (1 - bins)``; the
    default 21 reach down to two pixels of a 2048x1024 image. Columns ``area_from``, ``area_to`` (fractions of the image
    area), ``instances`` and ``per_image`` (instances divided by the number of images of the data set).
    """
    edges = np.concatenate([[0.0], 2.0 ** np.arange(1 - bins, 1)])
    rows = []
    for keys, sizes, number_of_images in _groups(instances, images, keep):
        counts, _ = np.histogram(-sizes["area_fraction"], -edges[::-1])  # negated: bins are open below, closed above
        for low, high, count in zip(edges[:-1], edges[1:], counts[::-1], strict=True):
            rows.append(
                keys
                | {"area_from": low, "area_to": high, "instances": int(count), "per_image": count / number_of_images}
            )
    return pd.DataFrame(rows)


def _groups(instances: pd.DataFrame, images: pd.DataFrame, keep: pd.Series | None):
    """Yield (keys, rows, number of images of the data set) for each data set, class and stage."""
    image_px = (images["height"] * images["width"]).rename("image_px")
    sizes = instances.merge(pd.concat([images[IMAGE_KEY], image_px], axis=1), on=IMAGE_KEY, how="left", validate="m:1")
    if sizes["image_px"].isna().any():
        missing = sizes.loc[sizes["image_px"].isna(), "image_id"].iloc[0]
        raise ValueError(f"image {missing} of the instance table is not in the image table; expected tables that match")
    sizes["area_fraction"] = sizes["area_px"] / sizes["image_px"]
    kept = np.ones(len(sizes), bool) if keep is None else keep.to_numpy()
    real = ~sizes["crowd"].to_numpy()
    for dataset in images["dataset"].unique():
        number_of_images = int((images["dataset"] == dataset).sum())
        for category, name in enumerate(CLASSES):
            chosen = real & (sizes["dataset"] == dataset) & (sizes["category"] == category)
            for stage in STAGES[: 1 if keep is None else 2]:
                keys = {"dataset": dataset, "class": name, "stage": stage}
                yield keys, sizes[chosen & kept if stage == "after" else chosen], number_of_images
