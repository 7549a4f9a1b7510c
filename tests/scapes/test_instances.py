"""The instance table against loops over pixels, the official script, and changes on disk."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scapes import cityscapes
from scapes.instances import fingerprint, image_instances, instance_table
from scapes.labels import LABEL_IDS
from scapes.synthetic import SYNSCAPES
from tests import tiny_data
from tests.faults.campaign import one_pixel

VALUES = (0, 7, 24, 26, 29, 24000, 24001, 26000, 26999, 29000, 30001, 31000, 33000)
MAPS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from(VALUES))


def reference(instance_map):
    rows = []
    for value in sorted(set(instance_map.ravel().tolist())):
        label = value // 1000 if value >= 1000 else value
        if label in LABEL_IDS:
            own = [(y, x) for y, x in np.ndindex(instance_map.shape) if instance_map[y, x] == value]
            ys, xs = [y for y, _ in own], [x for _, x in own]
            box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
            rows.append((value, LABEL_IDS.index(label), len(own), *box, value < 1000))
    return rows


@settings(max_examples=300, deadline=None)
@given(MAPS, st.integers(1, 3))
def test_equals_reference(instance_map, zoom):
    instance_map = np.kron(instance_map, np.ones((1, zoom), np.uint16))
    table = pd.DataFrame(image_instances(instance_map))
    assert list(table.itertuples(index=False, name=None)) == reference(instance_map)
    assert image_instances(instance_map.T).tolist() == image_instances(instance_map.T.copy()).tolist()  # a view
    assert table.dtypes.astype(str).tolist() == ["int32", "int8", "int32", "int32", "int32", "int32", "int32", "bool"]


def test_columns_order_and_workers(tmp_path):
    images = cityscapes.read_images(tiny_data.write_cityscapes(tmp_path, train=9), "train")
    table = instance_table(images, workers=1)
    assert " ".join(table) == "dataset split image_id instance_id category area_px x0 y0 x1 y1 crowd"
    assert table["image_id"].drop_duplicates().tolist() == images["image_id"].tolist()
    assert len(table) == 3 * 9 and table["crowd"].sum() == 9
    pd.testing.assert_frame_equal(instance_table(images, workers=2), table)
    assert len(instance_table(images[:0])) == 0


def test_fingerprint_is_of_the_content(tmp_path):
    """Not of place, time or order, but of images, splits and what each file holds."""
    root = tiny_data.write_synscapes(tmp_path / "a")
    images = SYNSCAPES.read_images(root)
    moved = shutil.copytree(root, tmp_path / "b", copy_function=shutil.copyfile)
    assert fingerprint(SYNSCAPES.read_images(moved)) == fingerprint(images) == fingerprint(images[::-1])
    others = [fingerprint(images[1:]), fingerprint(images.assign(split="train"))]
    for file in ("img/rgb/2.png", "img/class/2.png", "img/instance/2.png"):
        one_pixel(9, 9, 9)(root / file)
        others.append(fingerprint(images))
    (root / "meta/2.json").write_text((root / "meta/2.json").read_text().replace("32", "33"))
    assert len({fingerprint(SYNSCAPES.read_images(moved)), fingerprint(images), *others}) == 7


def test_a_kept_table_and_a_kept_fingerprint_are_used_until_a_file_changes(tmp_path, monkeypatch):
    images = cityscapes.read_images(tiny_data.write_cityscapes(tmp_path / "data", train=2), "train")
    table, found = instance_table(images, tmp_path / "kept"), fingerprint(images, tmp_path / "kept")
    assert found == fingerprint(images)
    with monkeypatch.context() as patched:
        for name in ("image_instances", "image_digest"):  # counting, or opening a file, would fail
            patched.setattr(f"scapes.instances.{name}", None)
        pd.testing.assert_frame_equal(instance_table(images, tmp_path / "kept"), table)
        assert fingerprint(images, tmp_path / "kept") == found
    one_pixel(27000)(Path(images["instance_path"][0]))
    assert len(instance_table(images, tmp_path / "kept")) == len(table) + 1
    assert fingerprint(images, tmp_path / "kept") == fingerprint(images) != found
