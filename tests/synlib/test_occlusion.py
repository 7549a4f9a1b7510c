"""Occlusion of harmonised instances, against a loop over the raw maps and metadata."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scapes import cityscapes, png, synscapes
from scapes.files import BadFile
from scapes.instances import instance_table
from scapes.labels import BICYCLE, INSTANCE_BASE, MOTORCYCLE, RIDER
from synlib.curation.harmonize import harmonize_dataset, source_instances, visibility_table
from tests import tiny_data
from tests.cases import draw_map

HIDDEN = {7: 0.25, 300: 0.5, 2400004: 0.0, 99: 1.0}


def write_meta(path, *, occluded, truncated=None) -> None:
    content = json.loads(path.read_text())
    content["instance"] |= {"occluded": occluded, "truncated": truncated or dict.fromkeys(occluded, 0.125)}
    path.write_text(json.dumps(content))


@pytest.fixture
def raw(tmp_path):
    root = tiny_data.write_synscapes(tmp_path / "raw")
    for path in (root / "meta").iterdir():
        write_meta(path, occluded=HIDDEN)
    return root


def harmonized(raw, folder, variant="rgb"):
    harmonize_dataset(raw, folder, variant=variant, workers=1, progress=False)
    return cityscapes.read_images(folder, "train")


@given(seed=st.integers(0, 2**32 - 1))
def test_sources_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    instance_ids, source_ids = draw_map(rng, 20, 30), rng.choice([0, 7, 300, 2**24 - 1], (20, 30)).astype(np.int32)
    table = source_instances(instance_ids, source_ids)
    expected = [int(i) for i in np.unique(instance_ids) if i >= INSTANCE_BASE]
    assert table["instance_id"].tolist() == expected
    for row in table.itertuples():
        inside = source_ids[instance_ids == row.instance_id].tolist()
        assert inside.count(row.source_id) == max(map(inside.count, inside))


@pytest.mark.parametrize("split", ["train", "val"])
def test_street_scenes_against_the_metadata(smoke_data, split):
    images = cityscapes.read_images(smoke_data / "synscapes-harmonized", split)
    table = visibility_table(images, smoke_data / "synscapes", workers=1, progress=False)
    counted = instance_table(images, workers=1, progress=False).query("not crowd")
    key = ["image_id", "instance_id"]
    assert table[key].to_numpy().tolist() == counted[key].to_numpy().tolist()

    riders = 0
    for image in images.itertuples():
        number = int(image.image_id.split("_")[1])
        meta = json.loads((smoke_data / f"synscapes/meta/{number}.json").read_text())["instance"]
        raw = synscapes.DATASET.read_instance_map(smoke_data / f"synscapes/img/instance/{number}.png")
        instance_ids = png.read(image.instance_path, "gray 16")
        rows = table[table["image_id"] == image.image_id]
        for row in rows.itertuples():
            (source,) = set(raw[instance_ids == row.instance_id].tolist())
            assert row.source_id == source
            assert (row.occluded, row.truncated) == (meta["occluded"][str(source)], meta["truncated"][str(source)])
            label = row.instance_id // INSTANCE_BASE
            assert label == meta["class"][str(source)] or label == RIDER
        riders += rows["source_id"].duplicated().sum()
    assert riders > 0
    assert table["occluded"].nunique() > 5


@pytest.mark.parametrize("variant", ["rgb", "rgb-2k"])
def test_a_rider_and_its_vehicle_share_the_values(raw, tmp_path, variant):
    table = visibility_table(harmonized(raw, tmp_path / "out", variant), raw, workers=1, progress=False)
    for _, rows in table.groupby("image_id"):
        pair = rows[rows["source_id"] == 7]
        assert (pair["instance_id"] // INSTANCE_BASE).tolist() == [RIDER, MOTORCYCLE]
        assert pair["occluded"].tolist() == [0.25, 0.25]
        assert rows["source_id"].tolist() == [2400004, 7, 300, 7]
        assert rows["truncated"].tolist() == [0.125] * 4
        assert not (rows["instance_id"] // INSTANCE_BASE == BICYCLE).any()  # a group


def test_what_the_metadata_do_not_know_is_nan(raw, tmp_path):
    images = harmonized(raw, tmp_path / "out")
    for path in (raw / "meta").iterdir():
        write_meta(path, occluded={i: x for i, x in HIDDEN.items() if i != 300}, truncated=HIDDEN)
    table = visibility_table(images, raw, workers=1, progress=False)
    unknown = table["source_id"] == 300
    assert table["occluded"].isna().tolist() == unknown.tolist()
    assert table.loc[unknown, "truncated"].tolist() == [0.5] * len(images)


def test_bad_input_is_named(raw, tmp_path, smoke_data):
    images = harmonized(raw, tmp_path / "out")
    with pytest.raises(ValueError, match="found images of cityscapes, expected a harmonised synscapes"):
        visibility_table(cityscapes.read_images(smoke_data / "cityscapes", "val"), raw, progress=False)
    write_meta(raw / "meta/2.json", occluded=dict.fromkeys(HIDDEN, 50))
    with pytest.raises(BadFile, match=r"meta/2.json: metadata: found ValueError: occluded of 7 is 50.0, expected JSON"):
        visibility_table(images, raw, workers=1, progress=False)
    (raw / "meta/1.json").write_text('{"instance": {"class": {}}}')
    with pytest.raises(BadFile, match=r"meta/1.json: metadata: found KeyError: 'occluded'"):
        visibility_table(images, raw, workers=1, progress=False)
    tiny_data.save(raw / "img/instance/1.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(BadFile, match=r"instance/1.png: size: found \(height, width\) \(5, 5\)"):
        visibility_table(images, raw, workers=1, progress=False)
    (raw / "img/instance/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"instance/1\.png"):
        visibility_table(images, raw, workers=1, progress=False)
