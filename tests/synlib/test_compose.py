"""Training sets, composed and pruned: against sorting by hand, as many images as asked for, groups never trained on."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.curation.compose import IGNORED, choose, compose
from synlib.curation.prune import prune, prune_report, removed_from, size_distribution
from synlib.spec import DataSpec

KEY = ["dataset", "image_id"]
IDS = [f"ulm_{i:06d}_000019" for i in range(60)]
BY_CLASS = st.dictionaries(st.sampled_from(CLASSES), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 1.0]))
FRACTIONS = st.floats(0, 1) | BY_CLASS


def domain(dataset: str, images: int, areas) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image ``i`` has instances ``areas(i)`` of category ``i % 8``, and each third image a group."""
    ids = [f"{i:03d}" for i in range(images)]
    rows = [
        {"image_id": ids[i], "instance_id": 1000 * (24 + i % 8) + n, "category": i % 8, "area_px": area, "crowd": False}
        for i in range(images)
        for n, area in enumerate(areas(i))
    ]
    rows += [{"image_id": i, "instance_id": 26, "category": 2, "area_px": 1, "crowd": True} for i in ids[::3]]
    place = {"dataset": dataset, "split": "train"}
    return pd.DataFrame({"image_id": ids}).assign(**place), pd.DataFrame(rows).assign(**place)


REAL = domain("cityscapes", 20, lambda i: range(10, 10 + i % 4))
SYNTHETIC = domain("synscapes", 30, lambda i: [1 + i, 100 + i, 50 * (i % 5)])


def chosen(spec: DataSpec):
    return compose(spec, REAL if spec.real else None, SYNTHETIC if spec.synthetic else None)


@given(real=st.integers(0, 20), synthetic=st.integers(0, 30), removal=st.floats(0, 0.8), seed=st.integers(0, 99))
def test_counts_and_instances(real, synthetic, removal, seed):
    if real + synthetic == 0 or real < 5 > synthetic:  # too few to be sure of an instance
        return
    result = chosen(DataSpec(real=real, synthetic=synthetic, removal=removal, seed=seed))
    images = result.images
    assert (images["dataset"] == "cityscapes").sum() == real
    assert (images["dataset"] == "synscapes").sum() == synthetic
    assert not images.duplicated(KEY).any()
    assert not result.instances["crowd"].any()

    everything = pd.concat([REAL[1], SYNTHETIC[1]]).merge(images[KEY], on=KEY)
    everything = everything[~everything["crowd"]]
    of_real = everything["dataset"] == "cityscapes"
    kept = everything[of_real], everything[~of_real][prune(everything[~of_real], removal)]
    columns = [*KEY, "instance_id", "area_px", "category"]
    expected = sorted(map(tuple, pd.concat(kept)[columns].to_numpy()))
    assert sorted(map(tuple, result.instances[columns].to_numpy())) == expected

    filled = set(map(tuple, result.instances[KEY].to_numpy()))
    assert result.emptied == real + synthetic - len(filled)


@given(removal=st.floats(0, 1))
def test_ignored_instances_stay_with_a_category_of_their_own(removal):
    spec = {"real": 5, "synthetic": 30, "removal": removal}
    plain, ignoring = (chosen(DataSpec(**spec, removed_as=how)) for how in ("background", "ignore"))
    ignored = ignoring.instances["crowd"]
    assert ignoring.instances[~ignored].to_numpy().tolist() == plain.instances.to_numpy().tolist()
    assert ignoring.emptied == plain.emptied and (ignoring.instances["category"][ignored] == IGNORED).all()
    everything = chosen(DataSpec(real=5, synthetic=30)).instances
    same = ["image_id", "instance_id", "area_px"]
    assert ignoring.instances[same].to_numpy().tolist() == everything[same].to_numpy().tolist()


@pytest.mark.parametrize("removed_as", ["background", "ignore"])
def test_images_without_instances_are_kept_or_dropped(removed_as):
    spec = {"real": 20, "synthetic": 30, "removal": 1.0, "removed_as": removed_as}
    kept, dropped = chosen(DataSpec(**spec, emptied="keep")), chosen(DataSpec(**spec, emptied="drop"))
    with_instances = 15  # of the real ones, each fourth has none
    assert (len(kept.images), kept.emptied) == (50, 50 - with_instances)
    assert (len(dropped.images), dropped.emptied) == (with_instances, 50 - with_instances)
    assert set(dropped.images["dataset"]) == {"cityscapes"}
    pd.testing.assert_frame_equal(kept.instances[~kept.instances["crowd"]], dropped.instances)
    for emptied in ("keep", "drop"):
        with pytest.raises(ValueError, match="found 'none in 5 images', expected an instance to train on; lower"):
            chosen(DataSpec(synthetic=5, removal=1.0, emptied=emptied, removed_as=removed_as))


def test_two_trees_of_one_data_set_are_told_apart():
    """Images of both domains with the same names: each keeps its own instances."""
    twin = tuple(table.assign(dataset="cityscapes") for table in SYNTHETIC)
    spec = DataSpec(real=20, synthetic=30, removal=0.3)
    found, expected = compose(spec, REAL, twin), chosen(spec)
    assert found.images["dataset"].value_counts().to_dict() == {"cityscapes (real)": 20, "cityscapes (synthetic)": 30}
    for name in ("images", "instances"):
        tables = (getattr(item, name).drop(columns="dataset") for item in (found, expected))
        pd.testing.assert_frame_equal(*tables)


def test_listed_images_are_taken_and_no_others():
    wanted = ["007", "002", "011"]
    result = chosen(DataSpec(real=wanted, synthetic=4, removal=0.5, seed=1))
    of_real = result.images["dataset"] == "cityscapes"
    assert result.images["image_id"][of_real].tolist() == sorted(wanted)
    drawn = chosen(DataSpec(synthetic=4, removal=0.5, seed=1))
    assert result.images["image_id"][~of_real].tolist() == drawn.images["image_id"].tolist()
    expected = REAL[1][REAL[1]["image_id"].isin(wanted) & ~REAL[1]["crowd"]]
    assert (result.instances["dataset"] == "cityscapes").sum() == len(expected)
    with pytest.raises(ValueError, match=r"synthetic images: found \['030', 'none'\], .*; 2 of 3 do not"):
        chosen(DataSpec(synthetic=["none", "030", "001"]))


def some_of(number, pool=IDS, seed=0, domain="real"):
    return choose(pool, number, seed=seed, domain=domain)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.randoms(use_true_random=False))
def test_exact_numbers_without_replacement_nested_whatever_the_order(number, other, seed, random):
    some = some_of(number, seed=seed)
    assert len(set(some)) == number and set(some) <= set(IDS)
    assert some_of(number, random.sample(IDS, len(IDS)), seed) == some
    assert set(some_of(min(number, other), seed=seed)) <= set(some_of(max(number, other), seed=seed))


def test_every_image_is_chosen_about_equally_often():
    times = Counter(image for seed in range(400) for image in some_of(15, seed=seed))
    assert min(times[image] for image in IDS) > 60
    assert max(times.values()) < 145  # 100 expected, standard deviation 8.7
    assert set(some_of(30)) not in (set(some_of(30, seed=1)), set(some_of(30, domain="synthetic")))


def test_pools_that_do_not_do():
    with pytest.raises(ValueError, match="real images: found 60, expected at least 61"):
        some_of(61)
    with pytest.raises(ValueError, match="real images: found '1 twice', expected each once"):
        some_of(1, [*IDS, IDS[3]])


@st.composite
def tables(draw):
    """Few images, few classes and few areas, so that ties are common."""
    row = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 4), st.booleans(), st.integers(0, 99))
    rows = draw(st.lists(row, unique_by=lambda row: (row[0], row[4]), max_size=25))
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


@settings(max_examples=150)
@given(tables(), FRACTIONS, st.randoms(use_true_random=False))
def test_equals_reference_whatever_the_order_and_index_of_the_rows(table, fractions, random):
    keep, order = prune(table, fractions), random.sample(range(len(table)), len(table))
    assert keep.dtype == bool and keep.tolist() == reference(table, fractions)
    shuffled = table.iloc[order].set_index(pd.Index([0] * len(table)))
    assert prune(shuffled, fractions).tolist() == keep.iloc[order].tolist()


def test_other_criteria_remove_as_many_those_with_the_largest_values_or_any():
    table = SYNTHETIC[1].assign(distance=np.random.default_rng(0).random(len(SYNTHETIC[1])))
    keep, shuffled = prune(table, 0.4, "distance"), table.sample(frac=1, random_state=1)
    for _, rows in table[~table["crowd"]].assign(keep=keep).groupby("category"):
        assert rows.loc[~rows["keep"], "distance"].min() > rows.loc[rows["keep"], "distance"].max()
    first, second = (prune(table, 0.4, "random", seed) for seed in (0, 1))
    assert first.equals(prune(shuffled, 0.4, "random").reindex(table.index)) and not first.equals(second)
    assert first.sum() == second.sum() == keep.sum() == prune(table, 0.4).sum()


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
    assert (report["removed (%)"] == 100 * (report["before"] - report["after"]) / report["before"].clip(lower=1)).all()
    single = table.assign(keep=keep)[~table["crowd"]]
    for name, row in report.iterrows():
        own = single if name == "all" else single[single["category"] == CLASSES.index(name)]
        kept = own[own["keep"]]
        assert (row["before"], row["after"]) == (len(own), len(kept))
        assert row["images left without"] == len(set(own["image_id"]) - set(kept["image_id"]))
        assert name == "all" or (kept["area_px"] >= row["largest removed (px)"]).all()


def single(image_id, category, area_px):
    table = pd.DataFrame({"image_id": image_id, "category": category, "area_px": area_px, "crowd": False})
    return table.assign(dataset="synscapes", split="train", instance_id=np.arange(len(table)))


def test_fractions_are_decimal_and_the_report_has_the_cutoff():
    """0.29 * 100 is below 29 in binary: 29 are removed all the same."""
    assert (~prune(single("a", 0, np.arange(100)), 0.29)).sum() == 29
    table = single(list("abcd"), 2, [4, 1, 9, 1])
    report = prune_report(table, prune(table, {"car": 0.5}))
    assert report.loc["car", ["largest removed (px)", "images left without"]].tolist() == [1, 2]


@settings(max_examples=30, deadline=None)
@given(tables(), st.sampled_from([(1, 4), (2, 3), (1024, 2048)]))
def test_distribution_counts_every_single_instance_once(table, size):
    images = pd.DataFrame({"image_id": list("abc"), "height": size[0], "width": size[1]})
    keep = prune(table, 0.4)
    tidy = size_distribution(table, images, keep)
    assert len(tidy) == 2 * 8 * 21
    single = table[~table["crowd"]].assign(area=table["area_px"] / (size[0] * size[1]))
    for (stage, name), own in tidy.groupby(["stage", "class"]):
        rows = single if stage == "before" else single[keep[single.index]]
        rows = rows[rows["category"] == CLASSES.index(name)]
        ends = zip(own["area_from"], own["area_to"], strict=True)
        assert own["instances"].tolist() == [sum(low < size <= high for size in rows["area"]) for low, high in ends]
        assert own["per_image"].sum() == pytest.approx(len(rows) / len(images))
