"""How large instances are, by class and domain, before and after pruning: the argument of section 4.1 as a tidy table.

Domains have label maps of different resolution, so sizes are compared as fractions of the image area.
"""

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from synlib.curation.prune import IMAGE_KEY


def size_distribution(instances: pd.DataFrame, images: pd.DataFrame, keep: pd.Series | None = None) -> pd.DataFrame:
    """Histogram of sizes: one row per (``dataset``, ``class``, ``stage``, bin), empty bins included, without groups.

    ``stage`` is ``before`` for all instances and, where ``keep`` is given, ``after`` for those that it marks. The 21
    bins are powers of two of the image area: the last is (1/2, 1], the first everything up to 2^-20, two pixels of a
    2048x1024 image. Columns ``area_from``, ``area_to`` (fractions of the image area), ``instances``, ``per_image``.

    Raises ValueError for an instance of an image that is not in ``images``.
    """
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-20, 1)])
    sizes = instances.assign(area_fraction=_area_fractions(instances, images))[~instances["crowd"]]
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


def _area_fractions(instances: pd.DataFrame, images: pd.DataFrame) -> np.ndarray:
    image_px = images.set_index(IMAGE_KEY).eval("height * width")
    rows = image_px.index.get_indexer(pd.MultiIndex.from_frame(instances[IMAGE_KEY]))
    if (rows < 0).any():
        missing = instances["image_id"].iloc[rows.argmin()]
        raise ValueError(f"image {missing} of the instance table is not in the image table; expected tables that match")
    return instances["area_px"].to_numpy() / image_px.to_numpy()[rows]
