"""Toy streets: the formats on disk as other programs read them, and what must hold of every scene."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from PIL import Image

from scapes import cityscapes
from scapes.labels import BICYCLE, CATEGORY_OF_LABEL, LABEL_IDS, MOTORCYCLE, RIDER, label_of_instance
from scapes.streets import STREETS
from scapes.synthetic import SYNSCAPES, URBANSYN
from toyscapes import DOMAINS, draw_scene, write_cityscapes, write_streets, write_synscapes, write_urbansyn, writers

SIZE = {"height": 96, "width": 192}
SMALL = {"height": 64, "width": 128}


@pytest.fixture(scope="module")
def cityscapes_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cityscapes")
    write_cityscapes(root, train=24, val=2, test=1, workers=1, **SIZE)
    return root


@pytest.fixture(scope="module")
def synscapes_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("synscapes")
    write_synscapes(root, train=24, val=6, rgb_2k=True, workers=1, **SIZE)
    return root


def pixels(path, mode):
    image = Image.open(path)
    assert image.mode == mode
    return np.array(image)


def digests(root):
    return {path.relative_to(root): hashlib.md5(path.read_bytes()).digest() for path in root.rglob("*.*")}


def test_cityscapes_files(cityscapes_root):
    images = pd.concat([cityscapes.read_images(cityscapes_root, split) for split in ("train", "val")])
    assert images.groupby("split").size().to_dict() == {"train": 24, "val": 2}
    for row in images.itertuples():
        assert pixels(row.image_path, "RGB").shape == (96, 192, 3)
        instance_ids = pixels(row.instance_path, "I;16")
        ids = pd.Series(np.unique(instance_ids[instance_ids >= 1000]))
        for _, numbers in (ids % 1000).groupby(ids // 1000):
            assert numbers.tolist() == list(range(len(numbers)))
    test = cityscapes.read_images(cityscapes_root, "test")
    label_path = next(cityscapes_root.glob("gtFine/test/*/*_labelIds.png"))
    assert len(test) == 1 and not pixels(label_path, "L").any()


def test_polygons_render_to_the_instance_map(cityscapes_root):
    """Cityscapes' own script draws the polygons into exactly the instance map that was written."""
    names = set()
    for path in cityscapes_root.glob("gtFine/train/*/*_polygons.json"):
        annotation = Annotation()
        annotation.fromJsonFile(str(path))
        rendered = np.array(createInstanceImage(annotation, "ids"))
        assert np.array_equal(rendered, pixels(str(path).replace("polygons.json", "instanceIds.png"), "I;16"))
        names |= {obj.label for obj in annotation.objects}
    assert {"ego vehicle", "rectification border", "out of roi", "static", "road", "sky", "pole"} <= names
    assert any(name.endswith("group") for name in names)


def test_synscapes_files(synscapes_root):
    images = SYNSCAPES.read_images(synscapes_root)
    assert images.groupby("split").size().to_dict() == {"train": 24, "val": 6}
    loose_two_wheelers = hidden = 0
    for row in images.to_dict("records"):
        assert pixels(row["image_path"], "RGB").shape == (96, 192, 3)
        class_map, raw = pixels(row["label_path"], "L"), pixels(row["instance_path"], "RGB").astype(np.int64)
        instance_map = raw[..., 0] + 256 * raw[..., 1] + 65536 * raw[..., 2]
        meta = json.loads(Path(row["meta_path"]).read_bytes())
        classes = {int(key): label for key, label in meta["instance"]["class"].items()}
        visible = set(np.unique(instance_map).tolist()) - {0}
        assert visible <= set(classes) and min(visible) > 65535
        hidden += len(set(classes) - visible)
        for i in visible:
            inside = np.unique(class_map[instance_map == i]).tolist()
            allowed = {classes[i], RIDER} if classes[i] in (MOTORCYCLE, BICYCLE) else {classes[i]}
            assert set(inside) <= allowed
        assert (instance_map[class_map == RIDER] > 0).all()
        loose_two_wheelers += (np.isin(class_map, (MOTORCYCLE, BICYCLE)) & (instance_map == 0)).any()
        for table in ("bbox2d", "bbox3d", "occluded", "truncated"):
            assert meta["instance"][table].keys() == meta["instance"]["class"].keys()
        assert meta["scene"]["num_cars"] == sum(label == 26 for label in classes.values())
    assert loose_two_wheelers > 3 and 0 < hidden < 3 * len(images)
    assert pixels(synscapes_root / "img" / "rgb-2k" / "1.png", "RGB").shape == (137, 273, 3)


def test_synscapes_boxes(synscapes_root):
    """Boxes hold what is seen of an instance; 3D boxes, seen through the camera of the metadata, give the 2D ones."""
    distances = []
    for row in SYNSCAPES.read_images(synscapes_root).to_dict("records"):
        _, instance_map, classes = SYNSCAPES.read_labels(row)
        meta = json.loads(Path(row["meta_path"]).read_bytes())
        tables, lens = meta["instance"], meta["camera"]["intrinsic"]
        for key, box in tables["bbox2d"].items():
            y, x = np.nonzero(instance_map == int(key))
            if len(x):
                assert box["xmin"] * 192 < x.min() + 2 and x.max() < box["xmax"] * 192 + 1
                assert box["ymin"] * 96 < y.min() + 2 and y.max() < box["ymax"] * 96 + 1
            assert 0 <= tables["occluded"][key] <= 1 and 0 <= tables["truncated"][key] <= 1
            if len(x) == 0:
                assert tables["occluded"][key] == 1
            if classes[int(key)] == 26 and tables["truncated"][key] == 0 and box["zmin"] > 5:
                origin, *edges = (np.array(tables["bbox3d"][key][name]) for name in ("origin", "x", "y", "z"))
                ahead, left, up = np.transpose([origin + corner @ np.array(edges) for corner in np.ndindex(2, 2, 2)])
                u = lens["u0"] - left * lens["fx"] / ahead
                v = lens["v0"] - (up - meta["camera"]["extrinsic"]["z"]) * lens["fy"] / ahead
                seen = np.array([u.min() / 192, v.min() / 96, u.max() / 192, v.max() / 96])
                distances.append(np.abs(seen - [box[edge] for edge in ("xmin", "ymin", "xmax", "ymax")]).max())
    assert len(distances) > 30 and np.median(distances) < 0.01


def test_urbansyn_files(tmp_path):
    write_urbansyn(tmp_path, train=8, val=2, workers=1, **SIZE)
    images = URBANSYN.read_images(tmp_path)
    assert len(images) == 10
    riders = 0
    for row in images.to_dict("records"):
        class_map, instance_map, classes = URBANSYN.read_labels(row)
        assert pixels(row["label_path"], "L").max() <= 19
        for i in set(np.unique(instance_map).tolist()) - {0}:
            assert set(np.unique(class_map[instance_map == i]).tolist()) == {classes[i]}
        riders += sum(label == RIDER for label in classes.values())
    assert riders > 3


@pytest.mark.parametrize("domain", DOMAINS)
def test_labels_agree(domain):
    for index in range(8):
        scene = draw_scene(domain, index, **SIZE)
        assert scene.image.dtype == scene.class_map.dtype == np.uint8 and scene.instance_map.dtype == np.int32
        areas = {i.instance_id: i.area_px for i in scene.instances}
        assert len(areas) == len(scene.instances)
        found = dict(zip(*np.unique(scene.instance_map, return_counts=True), strict=True))
        wanted = {i: n for i, n in found.items() if i >= (1000 if domain == "real" else 1)}
        assert wanted == {i: n for i, n in areas.items() if n}


@pytest.mark.parametrize("domain", DOMAINS)
def test_same_scene_at_every_size(domain):
    for index in range(4):
        small, large = (draw_scene(domain, index, height=h, width=2 * h) for h in (96, 384))
        shrunk = cv2.resize(large.class_map, (192, 96), interpolation=cv2.INTER_NEAREST)
        assert (shrunk == small.class_map).mean() > 0.9
        light = (cv2.resize(scene.image, (24, 12), interpolation=cv2.INTER_AREA) for scene in (small, large))
        assert np.abs(np.subtract(*light, dtype=int)).mean() < 8


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_comes_small_and_large(domain):
    """In 100 images: at least 30 instances of each class of 100 px and more, and some below 40 px."""
    areas = {label: [] for label in LABEL_IDS}
    for index in range(100):
        for instance in draw_scene(domain, index, **SIZE).instances:
            if instance.area_px and instance.label_id in areas:
                areas[instance.label_id].append(instance.area_px)
    if domain == "synthetic":  # riders are part of their vehicles there
        del areas[RIDER]
    for label, values in areas.items():
        values = np.array(values)
        assert (values >= 100).sum() >= 30, label
        assert (values < 40).sum() >= 3, label
        assert values.max() > 50 * values.min(), label
    total = sum(map(len, areas.values()))
    assert total > (900 if domain == "real" else 1300)
    assert len(areas[24]) > 0.25 * total


def test_gap_changes_the_look_alone():
    plain, usual, wide = (draw_scene("real", 5, gap=gap, **SIZE) for gap in (0.0, 1.0, 2.0))
    assert np.array_equal(plain.instance_map, wide.instance_map)
    step = [np.abs(plain.image.astype(int) - other.image).mean() for other in (usual, wide)]
    assert 5 < step[0] < step[1]
    synthetic = [draw_scene("synthetic", 5, gap=gap, **SIZE).image for gap in (0.0, 2.0)]
    assert np.array_equal(*synthetic)


def test_image_and_labels_are_aligned():
    """The undisturbed sky is one colour a row: where the labels say sky, and nowhere else, but for soft edges."""
    for index in range(10):
        scene = draw_scene("synthetic", index, height=256, width=512)
        sky = np.pad((scene.class_map == 23).astype(np.uint8), 2, mode="edge")
        inside, near = (change(sky, np.ones((5, 5)))[2:-2, 2:-2] == 1 for change in (cv2.erode, cv2.dilate))
        for y in np.flatnonzero(inside.any(1)):
            color = scene.image[y, inside[y]][0]
            same = (scene.image[y] == color).all(1)
            assert same[inside[y]].all() and not (same & ~near[y]).any()


@pytest.mark.parametrize("name", STREETS)
def test_what_is_read_of_other_streets_is_what_was_drawn(tmp_path, name):
    layout = STREETS[name]
    write_streets(tmp_path, name, val=6, seed=3, workers=1, **SIZE)
    for number, row in enumerate(layout.read_images(tmp_path).to_dict("records"), start=1):
        scene = draw_scene("real", writers._FIRST[name] + number, seed=3, **SIZE)
        class_map, instance_map, classes = layout.read_labels(row)
        label = label_of_instance(scene.instance_map)
        evaluated = (scene.instance_map >= 1000) & (CATEGORY_OF_LABEL[label] >= 0)
        assert np.array_equal(class_map[evaluated], label[evaluated])
        assert np.array_equal(evaluated, (instance_map > 0) & (CATEGORY_OF_LABEL[class_map] >= 0))
        pairs = np.unique([scene.instance_map[evaluated], instance_map[evaluated]], axis=1)  # one to one
        assert all(len(set(ids)) == pairs.shape[1] for ids in pairs.tolist()) and {*pairs[1].tolist()} <= {*classes}
        difference = layout.read_photo(row["image_path"])[..., ::-1].astype(int) - scene.image
        assert np.abs(difference).mean() < 6  # gray levels, of JPEG
    assert write_streets(tmp_path, name, val=6, seed=3, workers=1, **SIZE)["val"] == 6  # is there


@pytest.mark.parametrize("write", [write_cityscapes, write_synscapes, write_urbansyn])
def test_images_depend_on_their_number_and_the_seed_alone(tmp_path, write):
    """Not on the number of processes, nor of the other images."""
    ways = {"one": {}, "two": {"workers": 2}, "few": {"train": 3}, "other": {"seed": 8}}
    for name, options in ways.items():
        write(tmp_path / name, **{"train": 9, "val": 1, "seed": 7, "workers": 1} | options, **SMALL)
    one, two, few, other = ({k: v for k, v in digests(tmp_path / name).items() if k.suffix == ".png"} for name in ways)
    assert one == two
    shared = [name for name in few if "train" in str(name) or write is not write_cityscapes]
    assert len(shared) >= 9 and all(one[name] == few[name] for name in shared)
    assert not set(one.values()) & set(other.values())
    photos = [digest for name, digest in one.items() if set(name.parts) & {"leftImg8bit", "rgb"}]
    assert len(set(photos)) == 10


def test_writing_again(tmp_path):
    manifest = write_cityscapes(tmp_path, train=2, val=1, workers=1, **SMALL)
    assert json.loads((tmp_path / writers.MANIFEST).read_text()) == manifest
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert write_cityscapes(tmp_path, train=2, val=1, workers=1, **SMALL) == manifest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(FileExistsError, match=r"seed is 0, asked for 1.*delete that folder"):
        write_cityscapes(tmp_path, train=2, val=1, seed=1, workers=1, **SMALL)
    with pytest.raises(FileExistsError, match="layout is cityscapes, asked for synscapes"):
        write_synscapes(tmp_path, train=2, val=1, workers=1, **SMALL)


@pytest.mark.parametrize("write", [write_cityscapes, write_synscapes, write_urbansyn])
def test_goes_on_after_an_interruption(tmp_path, monkeypatch, write):
    """And draws no image again."""
    drawn = []

    def interrupted(domain, index, **options):
        drawn.append(index)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw_scene(domain, index, **options)

    monkeypatch.setattr(writers, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, train=4, val=1, workers=1, **SMALL)
    with pytest.raises(FileExistsError, match="train is 4, asked for 5"):
        write(tmp_path, train=5, val=1, workers=1, **SMALL)
    write(tmp_path, train=4, val=1, workers=1, **SMALL)
    assert len(drawn) == 6 and drawn[2] == drawn[3] and len(set(drawn)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 32, "width": 64}, "32 x 64"),
        ({"height": 96, "width": 200}, "96 x 200"),
        ({**SMALL, "gap": 2.5}, "gap 2.5"),
        ({**SMALL, "train": -1}, "train=-1"),
        ({**SMALL, "train": 0}, "every split is 0"),
    ],
)
def test_bad_parameters(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_cityscapes(tmp_path / "root", **{"train": 1, "val": 0, **options})
    assert not (tmp_path / "root").exists()
    with pytest.raises(ValueError, match="unknown domain 'night', expected one of real, synthetic"):
        draw_scene("night", 0, **SMALL)
