"""Image tables and raw labels of each data set, and malformed data: each kind of fault is found in its file."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.csHelpers import getCsFileInfo

import toyscapes
from scapes import cityscapes, png
from scapes.files import BadFile
from scapes.labels import BICYCLE, CAR, MOTORCYCLE, PERSON
from scapes.streets import OTHER, STREETS, VOID
from scapes.synthetic import SYNSCAPES, URBANSYN, split_images
from scapes.verify import summarize, verify_dataset
from synlib.curation.harmonize import DATASETS, count_table, harmonize_dataset
from tests import tiny_data

COLUMNS = ["dataset", "split", "image_id", "image_path", "instance_path", "label_path"]
TWO_AND_ONE = functools.partial(tiny_data.write_cityscapes, train=2, val=1)


def test_cityscapes_table(tmp_path):
    root = tiny_data.write_cityscapes(tmp_path, train=3, val=2, test=2)
    images = cityscapes.read_images(root, "train")
    assert images.columns.tolist() == [*COLUMNS, "height", "width"]
    assert images["image_id"].tolist() == ["aachen_000001_000019", "aachen_000003_000019", "ulm_000002_000019"]
    assert set(images["dataset"]) == {"cityscapes"} and set(images["split"]) == {"train"}
    assert set(images["height"]) == {12} and set(images["width"]) == {16}
    for image in images.itertuples():
        for path in (image.image_path, image.instance_path, image.label_path):
            info = getCsFileInfo(path)
            assert f"{info.city}_{info.sequenceNb}_{info.frameNb}" == image.image_id and f"/train/{info.city}/" in path
    test = cityscapes.read_images(root, "test")
    assert test["instance_path"].tolist() == test["label_path"].tolist() == ["", ""]
    assert test["height"].tolist() == [12, 12]


def test_files_of_the_system_are_ignored(tmp_path):
    """Hidden files, other formats, and a PNG that is no image."""
    real = tiny_data.write_cityscapes(tmp_path / "real", train=2, val=1)
    raw = tiny_data.write_synscapes(tmp_path / "raw")
    images, scenes = cityscapes.read_images(real, "train"), SYNSCAPES.read_images(raw)
    folders = (*real.glob("*/train"), *real.glob("*/train/ulm"), raw / "meta", *raw.glob("img/*"))
    assert len(folders) == 9
    for folder in folders:
        for name in ("._ulm_000002_000019_leftImg8bit.png", "._2.png", "._2.json", ".DS_Store", "Thumbs.db", "a.txt"):
            (folder / name).write_bytes(b"\0\5\x16\7")
    assert cityscapes.read_images(real, "train").equals(images) and SYNSCAPES.read_images(raw).equals(scenes)
    assert verify_dataset(real).empty and "error" not in set(verify_dataset(raw)["severity"])
    tiny_data.save(real / "leftImg8bit/train/ulm/preview.png", tiny_data.photo(4, 6, 1))
    assert cityscapes.read_images(real, "train").equals(images) and verify_dataset(real).empty


def test_synscapes_table(tmp_path):
    root = tiny_data.write_synscapes(tmp_path, images=11)
    images = SYNSCAPES.read_images(root)
    assert images.columns.tolist() == [*COLUMNS, "meta_path"]
    assert images["image_id"].tolist() == [str(number) for number in range(1, 12)]  # 2 before 10
    for largest, train in ((1, 1), (4, 4), (5, 4), (6, 5), (10, 8), (25_000, 20_000)):
        splits = [split for split, _ in split_images("root", range(1, largest + 1))]
        assert splits == ["train"] * train + ["val"] * (largest - train)
    assert images["split"].tolist() == ["train"] * 9 + ["val"] * 2
    assert SYNSCAPES.read_images(root, "rgb-2k")["image_path"].iloc[9].endswith("img/rgb-2k/10.png")


@pytest.mark.parametrize(
    ("there", "splits", "message"),
    [
        (range(24_998, 25_001), None, r"train is empty: found images 24998..25000, expected some of 0..20000; choose "
         r"others, for example split: {train: \[24998, 24999\], val: \[25000, 25000\]}"),
        (range(20_001, 20_101), None, r"split: {train: \[20001, 20080\], val: \[20081, 20100\]}"),
        ([5, 6], {"train": range(1, 6), "val": [7]}, "1 of the listed images do not exist, the first is 7"),
        ([5, 6], {"train": range(1, 6), "val": []}, "split val is empty: found images 5..6, expected some; "),
        ([5, 6], {"train": [5, "5"]}, "split: found 1 images twice, the first is 5, expected"),
        ([5, 6], {"train": [6], "val": range(9)}, "split: found 1 images twice, the first is 6, expected"),
        ([5, 6], {"test": [6]}, "unknown split 'test'"),
    ],
)  # fmt: skip
def test_splits_that_do_not_do(there, splits, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        split_images("root", there, splits)
    with pytest.raises(ValueError, match="unknown split 'training', expected one of train, val, test"):
        cityscapes.read_images("root", "training")


def test_urbansyn_labels(tmp_path):
    boxes = [{"color": [1, 2, 3, 255], "label": "Car"}, {"color": [255, 0, 0], "label": "bicycle"}]
    (row,) = URBANSYN.read_images(tiny_data.write_urbansyn(tmp_path, boxes)).to_dict("records")
    class_map, instance_map, classes = URBANSYN.read_labels(row)
    assert np.unique(class_map).tolist() == [0, 7, CAR, MOTORCYCLE] and class_map[0, 5] == 0
    assert instance_map[0, 0] == 1 + 256 * 2 + 65536 * 3 and instance_map[2, 2] == 0
    # The listed ones have the class of the list, the other car that of its pixels, the unlabelled colour none.
    assert classes == {197121: CAR, 255: BICYCLE, 9 * 65536: CAR}


@pytest.mark.parametrize("layout", STREETS.values(), ids=STREETS)
def test_labels_of_other_streets(tmp_path, layout):
    """Instances, groups and what is not evaluated, by hand; in a tree, groups are regions and void is unlabelled."""
    tiny_data.write_street(tmp_path / "raw", layout)
    images = layout.read_images(tmp_path / "raw")
    assert images[["dataset", "split", "image_id"]].values.tolist() == [[layout.name, "val", "a_1-b"]]
    class_map, instance_map, classes = layout.read_labels(images.iloc[0].to_dict())
    assert class_map.tolist() == [[CAR, CAR, PERSON, BICYCLE, VOID, OTHER]] * 4
    first, second, _, third, *_ = instance_map[0]
    assert classes == {first: CAR, second: CAR, third: BICYCLE} and instance_map[0, [2, 4, 5]].tolist() == [0, 0, 0]
    manifest = harmonize_dataset(tmp_path / "raw", tmp_path / "out", dataset=layout.name)
    assert harmonize_dataset(tmp_path / "raw", tmp_path / "out", dataset=layout.name) == manifest
    (tree,) = cityscapes.read_images(tmp_path / "out", "val").itertuples()
    assert tree.image_id == f"{layout.name}_a~1-b_000000"
    ids = [[26000, 26001, PERSON, 33000, VOID, OTHER]] * 4
    assert cityscapes.read_instance_ids(tree.instance_path).tolist() == ids
    Path(tree.image_path).write_bytes(b"")  # power was lost before the tree was finished
    (tmp_path / "out/harmonized.json").rename(tmp_path / "out/harmonizing.json")
    assert harmonize_dataset(tmp_path / "raw", tmp_path / "out", dataset=layout.name) == manifest
    assert np.array_equal(png.read(tree.image_path, "RGB 8"), layout.read_photo(images["image_path"][0]))
    Path(tree.image_path).unlink()
    with pytest.raises(FileNotFoundError, match=r"a~1-b_000000_leftImg8bit.png: missing. Put it back, or remove"):
        harmonize_dataset(tmp_path / "raw", tmp_path / "out", dataset=layout.name)
    with pytest.raises(ValueError, match=f"{layout.name}: found variant 'rgb', splits .*, expected neither"):
        harmonize_dataset(tmp_path / "raw", tmp_path / "new", dataset=layout.name, splits={"val": [1]})


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_can_be_drawn_verified_and_harmonised(tmp_path, name):
    """The miniature counterpart of each: what an added data set has to pass."""
    write = {"synscapes": toyscapes.write_synscapes, "urbansyn": toyscapes.write_urbansyn}.get(name)
    if name in STREETS:
        toyscapes.write_streets(tmp_path / "raw", name, val=5, height=96, width=192)
    else:
        write(tmp_path / "raw", train=4, val=1, height=96, width=192)
    assert "error" not in set(verify_dataset(tmp_path / "raw")["severity"])
    manifest = harmonize_dataset(tmp_path / "raw", tmp_path / "out", dataset=name)
    assert manifest["number_of_images"] == ({"val": 5} if name in STREETS else {"train": 4, "val": 1})
    assert verify_dataset(tmp_path / "out", part=True)["kind"].tolist() == ["part"] * (name in STREETS)
    counts = count_table(manifest)
    assert counts.loc["after"].sum() > 0
    if name != "synscapes":  # riders and their vehicles are two instances already
        assert "rider_added" not in counts.index and counts.loc["after"].equals(counts.loc["before"])
    images = cityscapes.read_images(tmp_path / "out", "val")
    assert set(images["dataset"]) == {name}
    assert png.read(images["instance_path"][0], "gray 16").shape == (96, 192)


def check(root, **options):
    return verify_dataset(root, workers=1, **options)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def test_never_stops_at_the_first_and_counts_by_kind(tmp_path):
    root = tiny_data.write_synscapes(tmp_path, images=6)
    assert check(root).empty  # hidden instances are normal
    for number in (1, 2, 4, 5):
        cut(root / f"img/class/{number}.png")
    (root / "meta/6.json").unlink()
    (root / "meta/77.json").write_text("{}")
    lines = summarize(check(root)).splitlines()
    kinds = [line.partition(": found")[0] for line in lines if ": found" in line]
    assert kinds == ["error: missing (1)", "error: truncated PNG (4)", "note: label without image (1)"]
    first = lines.index(f"  {root}/img/class/1.png")
    assert "bytes" in lines[first - 1] and lines[first - 1].endswith("expected a PNG that ends with IEND")
    assert lines[first + 1 : first + 3] == [f"  {root}/img/class/{number}.png" for number in (2, 4)]
    assert all(len(line) < 300 for line in lines)


@pytest.mark.parametrize("split", ["train", "val"])
def test_readers_of_empty_folders(tmp_path, split):
    for folder in ("", "img/rgb", "leftImg8bit/train/ulm", "rgb", "other"):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        assert "error" in set(check(tmp_path / "data")["severity"])
    with pytest.raises(FileNotFoundError, match=f"leftImg8bit/{split}: no such folder"):
        cityscapes.read_images(tmp_path, split)
    with pytest.raises(FileNotFoundError, match="img/rgb: no such folder"):
        SYNSCAPES.read_images(tmp_path)
    (tmp_path / f"leftImg8bit/{split}/ulm").mkdir(parents=True)
    (tmp_path / "img/rgb").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no images; expected names like CITY"):
        cityscapes.read_images(tmp_path, split)
    with pytest.raises(FileNotFoundError, match=r"no images; expected names like 1\.png"):
        SYNSCAPES.read_images(tmp_path)


def test_number_of_images_in_the_full_data_set_and_in_a_harmonised_tree(tmp_path):
    root = tiny_data.write_cityscapes(tmp_path / "real", train=2, val=1)
    assert check(root).empty  # a part of the data set is not taken for all of it
    assert check(root, full=True)["found"].tolist() == ["2 images", "1 images", "0 images"]
    harmonize_dataset(tiny_data.write_synscapes(tmp_path / "raw"), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*000003_000000*"):
        path.unlink()
    findings = check(tmp_path / "out")
    assert findings["kind"].tolist() == ["count"] and "4, as harmonized.json says" in findings["expected"][0]
    (tmp_path / "out" / cityscapes.MANIFEST).write_text("[]")
    assert "unfinished" in check(tmp_path / "out")["kind"].tolist()


def without(pattern: str):
    def remove(root: Path) -> None:
        for path in list(root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def renumbered(root: Path) -> None:
    """Images 1..5 become 20001..20005."""
    for path in [*root.rglob("*.png"), *root.rglob("*.json")]:
        path.rename(path.with_name(f"2000{path.name}"))


def with_dummies(root: Path) -> None:
    shutil.copytree(root / "gtFine/val", root / "gtFine/test")


PARTS = {
    "no polygons": ("real", without("gtFine/*/*/*.json"), "", ""),
    "one city": ("real", without("*/*/aachen"), "", ""),
    "only val": ("real", without("*/train"), "error missing", "note part"),
    "photos of val only": ("real", without("*8bit/train"), "error missing, note label", "note label, note part"),
    "one photo less than labels": ("real", without("*8bit/train/ulm"), "note label", "note label"),
    "dummy labels of test": ("real", with_dummies, "note label", "note label"),
    "rgb-2k in part": ("raw", without("img/rgb-2k/3.png"), "note part", "note part"),
    "rgb-2k alone": ("raw", without("img/rgb"), "", ""),
    "images 20001 to 20005": ("raw", renumbered, "error missing", "note part"),
}


@pytest.mark.parametrize(("domain", "change", "alone", "as_part"), PARTS.values(), ids=PARTS)
def test_a_part_of_a_data_set(tmp_path, domain, change, alone, as_part):
    write = {"real": functools.partial(tiny_data.write_cityscapes, train=3, val=3), "raw": tiny_data.write_synscapes}
    change(root := write[domain](tmp_path))
    for part, expected in ((False, alone), (True, as_part)):
        found = check(root, part=part)
        kinds = found["severity"] + " " + found["kind"].str.replace(" without image", "")
        assert ", ".join(sorted(set(kinds))) == expected
    if "missing" in alone:  # the reader says the same
        read = functools.partial(cityscapes.read_images, split="train") if domain == "real" else SYNSCAPES.read_images
        with pytest.raises(FileNotFoundError) as caught:
            read(root)
        assert str(caught.value) in found["found"].tolist()


@pytest.mark.parametrize(
    ("write", "below", "read", "sentence"),
    [
        (TWO_AND_ONE, ".", functools.partial(cityscapes.read_images, split="val"), "did you mean .*/data?"),
        (TWO_AND_ONE, "data/gtFine", functools.partial(cityscapes.read_images, split="val"), "did you mean .*/data?"),
        (TWO_AND_ONE, "data", functools.partial(cityscapes.read_images, split="test"), "only train, val is there"),
        (tiny_data.write_synscapes, ".", SYNSCAPES.read_images, "did you mean .*/data?"),
        (tiny_data.write_synscapes, "data/img", SYNSCAPES.read_images, "did you mean .*/data?"),
    ],
)
def test_a_root_that_is_nearly_right(tmp_path, write, below, read, sentence):
    """One level too high or too deep, or without the group asked for."""
    write(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match=sentence):
        read(tmp_path / below)
    assert below == "data" or check(tmp_path / below)["expected"].str.contains(sentence).all()


def test_bit_flips_are_noticed(tmp_path):
    """Whatever byte of a label map is changed, the file is refused or read as before."""
    path = tmp_path / "map.png"
    tiny_data.save(path, tiny_data.instance_ids_of(3))
    whole = path.read_bytes()
    expected = png.read(path, "gray 16")
    for position in np.random.default_rng(0).choice(len(whole), 60, replace=False):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            found = png.read(path, "gray 16")
        except BadFile:
            continue
        assert found.tolist() == expected.tolist()
