"""Size statistics against counting by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.curation.prune import prune
from synlib.curation.sizes import size_distribution

IMAGES = pd.DataFrame(
    {
        "dataset": ["synscapes"] * 3 + ["cityscapes"] * 2,
        "split": "train",
        "image_id": list("abcde"),
        "height": [720] * 3 + [1024] * 2,
        "width": [1440] * 3 + [2048] * 2,
    }
)


@st.composite
def tables(draw):
    row = st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(1, 720 * 1440), st.booleans())
    rows = pd.DataFrame(draw(st.lists(row, max_size=20)), columns=["image", "category", "area_px", "crowd"])
    keys = IMAGES.iloc[rows.pop("image").astype(int)][["dataset", "split", "image_id"]].reset_index(drop=True)
    return pd.concat([keys, rows.astype({"crowd": bool})], axis=1).assign(instance_id=np.arange(len(rows)))


@settings(max_examples=15, deadline=None)
@given(tables())
def test_distribution_counts_every_single_instance_once(table):
    keep = prune(table, 0.4)
    tidy = size_distribution(table, IMAGES, keep)
    assert len(tidy) == 2 * 8 * 2 * 21
    single = table[~table["crowd"]]
    for dataset, images in (("synscapes", 3), ("cityscapes", 2)):
        image_px = 720 * 1440 if dataset == "synscapes" else 1024 * 2048
        for category, name in enumerate(CLASSES):
            for stage, rows in (("before", single), ("after", single[keep[single.index]])):
                sizes = rows[(rows["dataset"] == dataset) & (rows["category"] == category)]["area_px"] / image_px
                own = tidy[(tidy["dataset"] == dataset) & (tidy["class"] == name) & (tidy["stage"] == stage)]
                expected = [
                    sum(low < size <= high for size in sizes)
                    for low, high in zip(own["area_from"], own["area_to"], strict=True)
                ]
                assert own["instances"].tolist() == expected
                assert own["per_image"].sum() == pytest.approx(len(sizes) / images)


def test_tables_that_do_not_match():
    table = pd.DataFrame({"image_id": ["z"], "category": 2, "area_px": [50], "crowd": False})
    with pytest.raises(ValueError, match="image z of the instance table"):
        size_distribution(table.assign(dataset="synscapes", split="train"), IMAGES)
