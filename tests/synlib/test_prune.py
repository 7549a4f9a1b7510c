"""Pruning against sorting by hand, its invariants, and sizes against counting by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.curation.prune import prune, prune_report, removed_from, size_distribution

FRACTIONS = st.one_of(
    st.floats(0, 1), st.dictionaries(st.sampled_from(CLASSES), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 1.0]))
)


@st.composite
def tables(draw):
    """Few images, few classes and few areas, so that ties are common."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 4), st.booleans(), st.integers(0, 99)),
            unique_by=lambda row: (row[0], row[4]),
            max_size=25,
        )
    )
    table = pd.DataFrame(rows, columns=["image_id", "category", "area_px", "crowd", "instance_id"])
    types = {"category": "int8", "area_px": "int32", "crowd": bool, "image_id": str}
    return table.assign(dataset="synscapes", split="train").astype(types)


def reference(table, fractions):
    keep = dict.fromkeys(table.index, True)
    for category, name in enumerate(CLASSES):
        fraction = fractions.get(name, 0) if isinstance(fractions, dict) else fractions
        rows = [row for row in table.itertuples() if row.category == category and not row.crowd]
        rows.sort(key=lambda row: (row.area_px, row.image_id, row.instance_id))
        for row in rows[: int(fraction * len(rows) + 0.5 + 1e-9)]:
            keep[row.Index] = False
    return list(keep.values())


@settings(max_examples=150, deadline=None)
@given(tables(), FRACTIONS)
def test_equals_reference(table, fractions):
    keep = prune(table, fractions)
    assert keep.dtype == bool and keep.tolist() == reference(table, fractions)


@settings(max_examples=30, deadline=None)
@given(tables(), FRACTIONS, st.randoms(use_true_random=False))
def test_order_and_index_of_the_rows_do_not_matter(table, fractions, random):
    order = random.sample(range(len(table)), len(table))
    shuffled = table.iloc[order].set_index(pd.Index([0] * len(table)))
    assert prune(shuffled, fractions).tolist() == prune(table, fractions).iloc[order].tolist()


@settings(max_examples=30, deadline=None)
@given(tables())
def test_each_instance_goes_at_its_own_fraction_and_not_before(table):
    limits = removed_from(table)
    assert np.isinf(limits[table["crowd"]]).all() and (limits[~table["crowd"]] < 1).all()
    for index, limit in limits[~table["crowd"]].items():
        assert not prune(table, limit)[index]
        assert prune(table, max(0.0, limit - 1e-6))[index]


@settings(max_examples=30, deadline=None)
@given(tables(), FRACTIONS)
def test_report_adds_up(table, fractions):
    keep = prune(table, fractions)
    report = prune_report(table, keep)
    assert report.index.tolist() == [*CLASSES, "all"]
    assert (report["before"] - report["removed"] == report["after"]).all()
    assert (report["removed_fraction"] == report["removed"] / report["before"].clip(lower=1)).all()
    single = table[~table["crowd"]].assign(keep=keep)
    for name, row in report.iterrows():
        own = single if name == "all" else single[single["category"] == CLASSES.index(name)]
        kept = own[own["keep"]]
        assert (row["before"], row["after"]) == (len(own), len(kept))
        assert row["emptied_images"] == len(set(own["image_id"]) - set(kept["image_id"]))
        assert name == "all" or (kept["area_px"] >= row["cutoff_px"]).all()


def single(image_id, category, area_px):
    table = pd.DataFrame({"image_id": image_id, "category": category, "area_px": area_px, "crowd": False})
    return table.assign(dataset="synscapes", split="train", instance_id=np.arange(len(table)))


def test_a_quarter_of_the_cars_smallest_first():
    table = single(list("abcd"), 2, [4, 1, 9, 1])
    assert prune(table, {"car": 0.25}).tolist() == [True, False, True, True]
    assert prune(table, {"person": 1.0}).all()
    report = prune_report(table, prune(table, {"car": 0.5}))
    assert report.loc["car", ["cutoff_px", "emptied_images"]].tolist() == [1, 2]


def test_fractions_are_decimal():
    """0.29 * 100 is below 29 in binary: 29 are removed all the same."""
    assert (~prune(single("a", 0, np.arange(100)), 0.29)).sum() == 29


@pytest.mark.parametrize("fractions", [1.1, -0.1, float("nan"), {"caar": 0.1}, {"car": "much"}])
def test_bad_fractions_are_refused(fractions):
    table = pd.DataFrame({"category": [], "area_px": [], "crowd": []})
    with pytest.raises(ValueError, match=r"fraction to remove|unknown class"):
        prune(table, fractions)


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
def placed(draw):
    row = st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(1, 720 * 1440), st.booleans())
    rows = pd.DataFrame(draw(st.lists(row, max_size=20)), columns=["image", "category", "area_px", "crowd"])
    keys = IMAGES.iloc[rows.pop("image").astype(int)][["dataset", "split", "image_id"]].reset_index(drop=True)
    return pd.concat([keys, rows.astype({"crowd": bool})], axis=1).assign(instance_id=np.arange(len(rows)))


@settings(max_examples=15, deadline=None)
@given(placed())
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
    with pytest.raises(KeyError, match=r"synscapes.*train.*z"):
        size_distribution(table.assign(dataset="synscapes", split="train"), IMAGES)
