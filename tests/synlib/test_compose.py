"""Training sets: as many images as asked for, only synthetic instances removed, groups never trained on."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synlib.curation.compose import IGNORED, compose
from synlib.curation.prune import prune
from synlib.spec import DataSpec

KEY = ["dataset", "image_id"]


def domain(dataset: str, images: int, areas) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image ``i`` has instances ``areas(i)`` of category ``i % 8``, and each third image a group."""
    ids = [f"{i:03d}" for i in range(images)]
    rows = [
        {"image_id": ids[i], "instance_id": 1000 * (24 + i % 8) + n, "category": i % 8, "area_px": area, "crowd": False}
        for i in range(images)
        for n, area in enumerate(areas(i))
    ]
    rows += [
        {"image_id": ids[i], "instance_id": 26, "category": 2, "area_px": 1, "crowd": True} for i in range(0, images, 3)
    ]
    place = {"dataset": dataset, "split": "train"}
    return pd.DataFrame({"image_id": ids}).assign(**place), pd.DataFrame(rows).assign(**place)


REAL = domain("cityscapes", 20, lambda i: range(10, 10 + i % 4))
SYNTHETIC = domain("synscapes", 30, lambda i: [1 + i, 100 + i, 50 * (i % 5)])


def chosen(spec: DataSpec):
    return compose(spec, REAL if spec.real else None, SYNTHETIC if spec.synthetic else None)


@given(real=st.integers(0, 20), synthetic=st.integers(0, 30), removal=st.floats(0, 1), seed=st.integers(0, 99))
def test_counts_and_instances(real, synthetic, removal, seed):
    if real + synthetic == 0:
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


def test_real_instances_are_never_removed():
    without = chosen(DataSpec(real=20, synthetic=30))
    pruned = chosen(DataSpec(real=20, synthetic=30, removal=1.0))
    of_real = without.instances[without.instances["dataset"] == "cityscapes"]
    assert len(of_real) > 0
    pd.testing.assert_frame_equal(pruned.instances.reset_index(drop=True), of_real.reset_index(drop=True))


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


def test_a_set_without_any_instance_is_no_set():
    with pytest.raises(ValueError, match="none of the 5 images chosen has an instance left"):
        chosen(DataSpec(synthetic=5, removal=1.0, emptied="drop"))


def test_the_same_seed_gives_nested_sets_and_another_seed_others():
    small, large, other = (
        set(chosen(DataSpec(real=n, seed=seed)).images["image_id"]) for n, seed in ((5, 0), (10, 0), (5, 1))
    )
    assert small < large
    assert small != other


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="21 real images wanted, but there are 20"):
        chosen(DataSpec(real=21))


def test_listed_images_are_taken_and_no_others():
    wanted = ["007", "002", "011"]
    result = chosen(DataSpec(real=wanted, synthetic=4, removal=0.5, seed=1))
    of_real = result.images["dataset"] == "cityscapes"
    assert result.images["image_id"][of_real].tolist() == sorted(wanted)
    drawn = chosen(DataSpec(synthetic=4, removal=0.5, seed=1))
    assert result.images["image_id"][~of_real].tolist() == drawn.images["image_id"].tolist()
    expected = REAL[1][REAL[1]["image_id"].isin(wanted) & ~REAL[1]["crowd"]]
    assert (result.instances["dataset"] == "cityscapes").sum() == len(expected)


def test_listed_images_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="2 of 3 synthetic images wanted do not exist: 030, none"):
        chosen(DataSpec(synthetic=["none", "030", "001"]))
