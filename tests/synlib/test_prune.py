"""Pruning against sorting by hand, and its invariants."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.curation.prune import prune, prune_report, removed_from

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
@given(tables(), st.floats(0, 1), st.floats(0, 1))
def test_larger_fractions_remove_more_and_extremes_all_or_nothing(table, a, b):
    low, high = prune(table, min(a, b)), prune(table, max(a, b))
    assert not (high & ~low).any()
    assert prune(table, 0.0).all()
    assert prune(table, 1.0).tolist() == table["crowd"].tolist()


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
