"""Harmonising a data set on disk: what other tools read, interruption, repetition, refusal."""

import functools
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from cityscapesscripts.evaluation.instances2dict import instances2dict
from cityscapesscripts.helpers.csHelpers import getCsFileInfo
from detectron2.data.datasets.cityscapes import _cityscapes_files_to_dict, _get_cityscapes_files
from pycocotools import mask as coco_mask

from scapes import cityscapes, png
from scapes.instances import instance_table
from scapes.labels import CLASSES, LABEL_IDS
from scapes.synthetic import SYNSCAPES, read_instance_map, split_ids
from scapes.verify import verify_dataset
from synlib.curation import harmonize
from synlib.curation.harmonize import check_details, count_table, harmonize_dataset, with_details
from synlib.curation.rider_rule import Policy, harmonize_maps
from tests import tiny_data
from tests.faults.campaign import listing


@pytest.fixture
def source(tmp_path):
    return tiny_data.write_synscapes(tmp_path / "synscapes")


@pytest.mark.parametrize(("variant", "scale"), [("rgb", 1), ("rgb-2k", 2)])
def test_tree_holds_what_the_rule_makes(source, tmp_path, variant, scale):
    """Labels are enlarged, without new values, to the size of larger images."""
    manifest = harmonize_dataset(source, tmp_path / "out", variant=variant)
    total = Counter()
    for split, numbers in (("train", range(1, 5)), ("val", [5])):
        images = cityscapes.read_images(tmp_path / "out", split)
        assert images["image_id"].tolist() == [f"synscapes_{number:06d}_000000" for number in numbers]
        assert set(images["dataset"]) == {"synscapes"} and set(images["height"]) == {scale * tiny_data.HEIGHT}
        for image, number in zip(images.itertuples(), numbers, strict=True):
            *maps, counts = harmonize_maps(*tiny_data.maps(number), tiny_data.CLASSES)
            instance_ids, label_ids = (np.kron(values, np.ones((scale, scale), int)) for values in maps)
            assert png.read(image.instance_path, "gray 16").tolist() == instance_ids.tolist()
            assert png.read(image.label_path, "gray 8").tolist() == label_ids.tolist()
            assert Path(image.image_path).read_bytes() == (source / f"img/{variant}/{number}.png").read_bytes()
            # Detectron2 reads the size; a reader of ``objects`` must stop instead of finding none
            polygons = json.loads(Path(image.instance_path.replace("instanceIds.png", "polygons.json")).read_text())
            assert (polygons["imgHeight"], polygons["imgWidth"]) == label_ids.shape and "objects" not in polygons
            total += counts
    after = {name: total["after", name] for name in ("car", "motorcycle", "person", "rider")}
    assert manifest["counts"]["after"] == after
    assert manifest["number_of_images"] == {"train": 4, "val": 1}
    assert manifest["policy"]["orphans"] == "group"
    assert json.loads((tmp_path / "out/harmonized.json").read_text()) == manifest
    table = count_table(manifest)
    assert table.loc["after", "rider"] == table.loc["rider_added", "motorcycle"] == 5
    assert table.loc["without_pixels", "bus"] == 5
    assert verify_dataset(tmp_path / "out").empty
    message = r"out: found 'occlusion of 0 of \d+ instances', expected of all; if .* delete it"
    with pytest.raises(ValueError, match=message):
        check_details(tmp_path / "out", "occlusion")  # its metadata have none; nor has a tree of an earlier version


def test_occlusion_and_distance_are_those_of_the_source(smoke_data):
    root, path = smoke_data / "synscapes-harmonized", functools.partial(SYNSCAPES.path, smoke_data / "synscapes", "rgb")
    images = cityscapes.read_images(root, "train")
    table = instance_table(images, workers=1, progress=False)
    table = with_details(with_details(table, root, "occlusion"), root, "distance")
    for row in table[~table["crowd"]].merge(images).itertuples():
        number = str(int(row.image_id.split("_")[1]))
        known = json.loads(Path(path(number, "meta_path")).read_text())["instance"]
        own = png.read(row.instance_path, "gray 16") == row.instance_id
        (i,) = set(read_instance_map(path(number, "instance_path"))[own].astype(str))
        assert (row.occlusion, row.distance) == (known["occluded"][i], known["bbox2d"][i]["zmin"])


@pytest.mark.parametrize("variant", ["rgb", "rgb-2k"])
def test_other_readers_agree(source, tmp_path, variant):
    harmonize_dataset(source, tmp_path / "out", variant=variant)
    images = cityscapes.read_images(tmp_path / "out", "train").set_index("image_path")
    table = instance_table(images.reset_index(), progress=False)
    files = _get_cityscapes_files(str(tmp_path / "out/leftImg8bit/train"), str(tmp_path / "out/gtFine/train"))
    assert len(files) == len(images)
    for file in files:
        theirs = _cityscapes_files_to_dict(file, from_json=False, to_polygons=False)
        ours = table[table["image_id"] == images.loc[file[0], "image_id"]]
        # Detectron2 leaves out what is one pixel wide or high, and its boxes do not include the last pixel.
        ours = ours[(ours["x1"] - ours["x0"] > 1) & (ours["y1"] - ours["y0"] > 1)]
        assert (theirs["height"], theirs["width"]) == png.read_header(file[0])[:2]
        assert {
            (a["category_id"], int(coco_mask.area(a["segmentation"])), *map(int, a["bbox"]), bool(a["iscrowd"]))
            for a in theirs["annotations"]
        } == {
            (LABEL_IDS[row.category], row.area_px, row.x0, row.y0, row.x1 - 1, row.y1 - 1, row.crowd)
            for row in ours.itertuples()
        }
        official = instances2dict(file[1])[os.path.abspath(file[1])]
        number = (table["image_id"] == images.loc[file[0], "image_id"]).sum()
        assert sum(len(official[name]) for name in CLASSES) == number
        assert getCsFileInfo(file[0]).city == "synscapes"


def test_image_of_another_size_or_shape_is_refused(source, tmp_path):
    for variant, height, width in (("rgb", 12, 17), ("rgb-2k", 24, 36), ("rgb-2k", 12, 15), ("rgb-2k", 26, 32)):
        tiny_data.save(source / f"img/{variant}/3.png", tiny_data.photo(height, width, 3))
        with pytest.raises(ValueError, match=rf"{variant}/3\.png: size: found .*{width}.*, expected"):
            harmonize_dataset(source, tmp_path / f"{height} {width}", variant=variant)


def test_splits_by_list(source, tmp_path):
    manifest = harmonize_dataset(source, tmp_path / "out", splits={"train": [5, 1], "val": ["3"]})
    assert manifest["number_of_images"] == {"train": 2, "val": 1}
    assert cityscapes.read_images(tmp_path / "out", "val")["image_id"].tolist() == ["synscapes_000003_000000"]
    splits = split_ids({"train": [2, 20_000], "val": [1, 1]})
    assert splits == {"train": range(2, 20_001), "val": range(1, 2)} and split_ids({"val": [5, 3]}) == {"val": [5, 3]}
    manifest = harmonize_dataset(source, tmp_path / "ranges", splits=splits)
    assert manifest["number_of_images"] == {"train": 4, "val": 1}


def test_a_file_system_without_links(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "symlink", Mock(side_effect=PermissionError(1, "Operation not permitted")))
    manifest = harmonize_dataset(source, tmp_path / "out", workers=1)
    assert capsys.readouterr().err.count("this file system has no symbolic links") == 1
    monkeypatch.undo()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    assert harmonize_dataset(source, tmp_path / "out") == manifest


def test_two_at_once_do_every_image_once(source, tmp_path, monkeypatch):
    monkeypatch.setattr(harmonize, "harmonize_maps", done := Mock(wraps=harmonize_maps))
    with ThreadPoolExecutor(2) as pool:
        manifests = [pool.submit(harmonize_dataset, source, tmp_path / "out", workers=1) for _ in range(2)]
    assert manifests[0].result() == manifests[1].result()
    assert done.call_count == 5
    assert verify_dataset(tmp_path / "out").empty


@pytest.mark.parametrize("images", ["link", "copy"])
def test_finished_tree_whose_images_are_gone_is_refused(source, tmp_path, images):
    harmonize_dataset(source, tmp_path / "out", images=images)
    image = Path(cityscapes.read_images(tmp_path / "out", "train")["image_path"][0])
    assert (images == "link") == image.is_symlink() and not (image.is_symlink() and os.path.isabs(os.readlink(image)))
    moved = source.rename(tmp_path / "moved")
    if images == "copy":
        assert harmonize_dataset(moved, tmp_path / "out", images=images)["number_of_images"] == {"train": 4, "val": 1}
        image.unlink()
    what = {"link": r"links to .*synscapes/img/rgb/1\.png, which does not exist", "copy": "missing"}[images]
    with pytest.raises(FileNotFoundError, match=rf"synscapes_000001_000000_leftImg8bit\.png: {what}.*remove .*out and"):
        harmonize_dataset(moved, tmp_path / "out", images=images)


def test_refuses_other_options_other_input_and_foreign_folders(source, tmp_path):
    harmonize_dataset(source, tmp_path / "out")
    for options, message in (
        ({"policy": Policy(orphans="void")}, "out: was made .* with other options: policy is"),
        ({"splits": {"train": [1, 3]}}, "number_of_images"),
        ({"splits": {"train": [1, 2, 3, 5], "val": [4]}}, "image_list"),
    ):
        with pytest.raises(FileExistsError, match=message):
            harmonize_dataset(source, tmp_path / "out", **options)
    (source / "meta/1.json").write_text((source / "meta/2.json").read_text().replace("32", "33"))
    with pytest.raises(FileExistsError, match="source_fingerprint"):
        harmonize_dataset(source, tmp_path / "out")
    foreign = tiny_data.write_cityscapes(tmp_path / "real", train=1)
    for target in (foreign, source):
        with pytest.raises(FileExistsError, match="holds something else"):
            harmonize_dataset(source, target)


def test_bad_images_can_be_replaced_and_the_work_goes_on(source, tmp_path, monkeypatch):
    good = (source / "img/instance/2.png").read_bytes()
    (source / "img/instance/2.png").write_bytes(good[:-9])
    meta = (source / "meta/4.json").read_text()
    (source / "meta/4.json").write_text("{")
    with pytest.raises(ValueError, match=r"(?s)2 of 5 images.*\n.*instance/2\.png: truncated PNG.*\n.*meta/4\.json"):
        harmonize_dataset(source, tmp_path / "out", images="copy")
    assert len(list((tmp_path / "out").rglob("*_polygons.json"))) == 3
    with pytest.raises(ValueError, match="not finished here; run it again"):
        cityscapes.read_images(tmp_path / "out", "train")
    assert verify_dataset(tmp_path / "out", part=True)["kind"].tolist() == ["unfinished"]
    (tmp_path / "out/leftImg8bit/train/synscapes/.x.12345678.tmp.png").write_bytes(b"half")
    (source / "meta/4.json").write_text(meta)
    (source / "img/instance/2.png").write_bytes(good)
    (source / "img/class/4.png").write_bytes((source / "img/class/3.png").read_bytes())
    monkeypatch.setattr(harmonize, "harmonize_maps", redone := Mock(wraps=harmonize_maps))
    harmonize_dataset(source, tmp_path / "out", images="copy", workers=1)
    assert redone.call_count == 2
    found = listing(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "resumed")
    harmonize_dataset(source, tmp_path / "out", images="copy", workers=1)
    assert listing(tmp_path / "out") == found


def test_bad_options_and_a_tree_that_is_harmonised_already_leave_nothing(source, tmp_path):
    harmonize_dataset(source, tmp_path / "out")
    for root, options, message in (
        (source, {"images": "move"}, "images: found 'move'"),
        (source, {"dataset": "gta"}, "dataset: found 'gta'"),
        (source, {"variant": "4k"}, "unknown variant '4k'"),
        (source, {"dataset": "urbansyn"}, "rgb: no such folder; expected [^;]*; there is a data set in synscapes"),
        (tmp_path / "out", {}, "rgb: no such folder; .*there is a data set in cityscapes format"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            harmonize_dataset(root, tmp_path / "again", **options)
    assert not (tmp_path / "again").exists()
