"""Malformed data: each kind of fault is found in the file that has it, and nothing takes it for good data."""

import functools
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import toyscapes
from scapes import cityscapes, png
from scapes.files import BadFile
from scapes.instances import fingerprint, instance_table
from scapes.synthetic import SYNSCAPES
from scapes.verify import has_errors, summarize, verify_dataset
from synlib.curation.harmonize import harmonize_dataset
from tests import tiny_data


def check(root, **options):
    return verify_dataset(root, workers=1, **options)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def text(content: str | bytes):
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def convert(mode: str):
    def to_mode(path: Path) -> None:
        with Image.open(path) as image:
            image.convert(mode).save(path)

    return to_mode


def pixels(**changes):
    """``value``: what pixel (0, 0) becomes; ``dtype``: bits a channel; ``rows``: how many rows stay."""

    def change(path: Path) -> None:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image = image[: changes.get("rows")].astype(f"uint{changes.get('dtype', image.dtype.itemsize * 8)}")
        image[0, 0] = changes.get("value", image[0, 0])
        assert cv2.imwrite(str(path), image)

    return change


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to(target: str):
    def replace(path: Path) -> None:
        path.unlink()
        path.symlink_to(path.name if target == "itself" else target)

    return replace


def renamed(name: str):
    return lambda path: path.rename(path.with_name(name))


def forbidden(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")


RAW_FAULTS = {
    **{f"truncated {of}": (f"img/{of}/2.png", cut, "truncated PNG") for of in ("instance", "class", "rgb")},
    "damaged instance map": ("img/instance/2.png", flip, "damaged PNG"),
    "empty PNG": ("img/class/2.png", text(""), "empty file"),
    "HTML instead of a PNG": ("img/instance/2.png", text("<html>" * 20), "not a PNG"),
    "JPEG under the name of a PNG": ("img/class/2.png", text(b"\xff\xd8\xff" * 20), "not a PNG"),
    **{f"{of} of another size": (f"img/{of}/2.png", pixels(rows=9), "size") for of in ("instance", "rgb")},
    "class map with 16 bits": ("img/class/2.png", pixels(dtype=16), "PNG kind"),
    **{f"class map {mode}": ("img/class/2.png", convert(mode), "PNG kind") for mode in ("RGB", "P", "1")},
    **{f"instance map {mode}": ("img/instance/2.png", convert(mode), "PNG kind") for mode in ("RGBA", "L")},
    "unknown label id": ("img/class/2.png", pixels(value=200), "value"),
    "instance that the metadata lack": ("img/instance/2.png", pixels(value=(1, 2, 3)), "unknown instance"),
    **{
        f"no {file}": (file, Path.unlink, "missing")
        for file in ("meta/2.json", "img/class/2.png", "img/instance/2.png")
    },
    "folder instead of a file": ("img/instance/2.png", folder, "unreadable"),
    "link to itself": ("img/class/2.png", link_to("itself"), "unreadable"),
    "link to nothing": ("meta/2.json", link_to("nowhere"), "missing"),
    "file that may not be read": ("img/instance/2.png", forbidden, "unreadable"),
    **{f"named {name}": ("img/rgb/2.png", renamed(name), "name") for name in ("02.png", "two.png")},
}
BAD_CLASSES = [
    *({"7": label} for label in (7, 99, "car", 26.5, None)),
    *({i: 26} for i in ("seven", "0", "-7", "99999999999999999999")),
    [26, 26],
    {"7": 26, "07": 32},
]
BAD_META = [
    *('{"instance": {"cla', "", b'{"instance": "\xff\xfe"}', '{"camera": {}}', "[1, 2]"),
    '{"instance": {"class": {"7": 26, "7": 32}}}',
    *(json.dumps({"instance": {"class": content}}) for content in BAD_CLASSES),
]
RAW_FAULTS |= {f"metadata {content!r}": ("meta/2.json", text(content), "metadata") for content in BAD_META}


@pytest.mark.parametrize(("file", "damage", "kind"), RAW_FAULTS.values(), ids=RAW_FAULTS)
def test_fault_in_raw_data(tmp_path, file, damage, kind):
    """It is found and named, harmonisation stops and names it too, and leaves nothing that passes for a data set."""
    root = tiny_data.write_synscapes(tmp_path / "raw", images=3)
    damage(root / file)
    findings = check(root)
    own = findings[(findings["severity"] == "error") & (findings["kind"] == kind)]
    name = str((root / file).parent if kind == "name" else root / file)
    assert len(own) >= 1 and own["path"].str.startswith(name).all()
    assert (own[["found", "expected"]] != "").all(axis=None)

    # Unknown instances are the one fault for which there is a policy.
    if kind != "unknown instance":
        with pytest.raises((ValueError, OSError)) as caught:
            harmonize_dataset(root, tmp_path / "out", workers=1)
        assert name in str(caught.value)
        assert not (tmp_path / "out" / cityscapes.MANIFEST).exists()
        with pytest.raises((ValueError, OSError)):
            cityscapes.read_images(tmp_path / "out", "train")


INSTANCES = "gtFine/train/ulm/ulm_000002_000019_gtFine_instanceIds.png"
LABELS = "gtFine/train/ulm/ulm_000002_000019_gtFine_labelIds.png"
PHOTO = "leftImg8bit/train/ulm/ulm_000002_000019_leftImg8bit.png"
TREE_FAULTS = {
    "instance map with 8 bits": (INSTANCES, pixels(dtype=8), "PNG kind"),
    "instance map in colour": (INSTANCES, lambda path: tiny_data.save(path, tiny_data.photo(12, 16, 1)), "PNG kind"),
    "truncated instance map": (INSTANCES, cut, "truncated PNG"),
    "damaged label map": (LABELS, flip, "damaged PNG"),
    # A class without instances, beyond all classes, a group of an unknown class.
    **{f"instance id {value}": (INSTANCES, pixels(value=value), "value") for value in (7001, 65535, 500)},
    "label id beyond all classes": (LABELS, pixels(value=255), "value"),
    "maps that disagree": (INSTANCES, pixels(value=26000), "maps disagree"),
    **{f"{file} of another size": (file, pixels(rows=9), "size") for file in (INSTANCES, PHOTO)},
    "image with 16 bits": (PHOTO, pixels(dtype=16), "PNG kind"),
    "empty image": (PHOTO, text(""), "empty file"),
    **{f"no {file}": (file, Path.unlink, "missing") for file in (INSTANCES, LABELS)},
    "odd image name": (PHOTO, renamed("ulm_000002_leftImg8bit.png"), "name"),
    "image name that is not UTF-8": (PHOTO, renamed("\udcfc_000002_000019_leftImg8bit.png"), "name"),
    "test image truncated": (PHOTO.replace("train", "test"), cut, "truncated PNG"),
}


@pytest.mark.parametrize(("file", "damage", "kind"), TREE_FAULTS.values(), ids=TREE_FAULTS)
def test_fault_in_a_cityscapes_tree(tmp_path, file, damage, kind):
    root = tiny_data.write_cityscapes(tmp_path, train=2, val=1, test=2)
    assert check(root).empty
    damage(root / file)
    findings = check(root)
    assert kind in findings["kind"].tolist() and has_errors(findings)
    assert findings["path"].str.contains("_000002_").all()


@pytest.mark.parametrize("damage", [cut, flip, text(""), pixels(dtype=8), convert("RGB"), folder, link_to("itself")])
def test_instance_table_stops_at_a_bad_map(tmp_path, damage):
    root = tiny_data.write_cityscapes(tmp_path / "data", train=2)
    images = cityscapes.read_images(root, "train")
    damage(root / INSTANCES)
    with pytest.raises((BadFile, OSError), match="ulm_000002_000019_gtFine_instanceIds"):
        instance_table(images, tmp_path / "cache")
    assert list((tmp_path).glob("cache/*.parquet")) == []


@pytest.mark.parametrize("file", [INSTANCES, LABELS])
def test_missing_labels_are_named_by_the_reader(tmp_path, file):
    root = tiny_data.write_cityscapes(tmp_path, train=2)
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{Path(file).name}: missing, though .*leftImg8bit.png exists"):
        cityscapes.read_images(root, "train")


def test_never_stops_at_the_first_and_counts_by_kind(tmp_path):
    root = tiny_data.write_synscapes(tmp_path, images=6)
    for number in (1, 2, 4, 5):
        cut(root / f"img/class/{number}.png")
    (root / "meta/6.json").unlink()
    (root / "meta/77.json").write_text("{}")
    lines = summarize(check(root)).splitlines()
    assert [line.split(":")[0:2] for line in lines if ": found" in line] == [
        ["error", " missing (1)"], ["error", " truncated PNG (4)"],
        ["note", " label without image (1)"],
    ]  # fmt: skip
    first = lines.index(f"  {root}/img/class/1.png")
    assert "bytes" in lines[first - 1] and lines[first - 1].endswith("expected a PNG that ends with IEND")
    assert lines[first + 1 : first + 3] == [f"  {root}/img/class/{number}.png" for number in (2, 4)]
    assert all(len(line) < 300 for line in lines)


def test_hidden_instances_are_normal(tmp_path):
    assert check(tiny_data.write_synscapes(tmp_path)).empty


@pytest.mark.parametrize("folders", [[], ["img/rgb"], ["leftImg8bit/train/ulm"], ["leftImg8bit"], ["rgb"], ["other"]])
def test_no_images_at_all(tmp_path, folders):
    for name in folders:
        (tmp_path / "data" / name).mkdir(parents=True)
    assert has_errors(check(tmp_path / "data"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_readers_of_empty_folders(tmp_path, split):
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


def test_number_of_images_in_the_full_data_set(tmp_path):
    root = tiny_data.write_cityscapes(tmp_path, train=2, val=1)
    assert check(root).empty  # a part of the data set is not taken for all of it
    assert check(root, full=True)["found"].tolist() == ["2 images", "1 images", "0 images"]


def test_number_of_images_in_a_harmonised_tree(tmp_path):
    harmonize_dataset(tiny_data.write_synscapes(tmp_path / "raw"), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*000003_000000*"):
        path.unlink()
    findings = check(tmp_path / "out")
    assert findings["kind"].tolist() == ["count"] and "4, as harmonized.json says" in findings["expected"][0]


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff"])
def test_broken_manifest(tmp_path, content):
    root = tiny_data.write_cityscapes(tmp_path, train=1, val=1)
    (root / cityscapes.MANIFEST).write_text(content, encoding="latin-1")
    assert check(root)["kind"].tolist() == ["unfinished"]
    with pytest.raises(ValueError, match=r"harmonized\.json: manifest: found"):
        cityscapes.read_images(root, "train")


def test_fingerprint_of_a_truncated_file(tmp_path):
    images = cityscapes.read_images(tiny_data.write_cityscapes(tmp_path, train=2), "train")
    cut(Path(images["image_path"][0]))
    with pytest.raises(BadFile, match="truncated PNG"):
        fingerprint(images)


def test_toy_streets_are_in_order(tmp_path):
    toyscapes.write_cityscapes(tmp_path / "real", train=2, val=1, height=64, width=128)
    toyscapes.write_synscapes(tmp_path / "synthetic", train=4, val=1, height=64, width=128)
    for name in ("real", "synthetic"):
        assert not has_errors(check(tmp_path / name))
    harmonize_dataset(tmp_path / "synthetic", tmp_path / "harmonized")
    assert check(tmp_path / "harmonized").empty


def test_many_workers(tmp_path):
    root = tiny_data.write_synscapes(tmp_path, images=9)
    cut(root / "img/instance/4.png")
    assert verify_dataset(root, workers=2).equals(check(root))


def test_upscaled_images_are_checked_too(tmp_path):
    root = tiny_data.write_synscapes(tmp_path)
    tiny_data.save(root / "img/rgb-2k/2.png", tiny_data.photo(24, 30, 2))
    assert check(root).query("severity == 'error'")["path"].tolist() == [str(root / "img/rgb-2k/2.png")]


def without(pattern: str):
    def remove(root: Path) -> None:
        for path in list(root.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


TWO_AND_ONE = functools.partial(tiny_data.write_cityscapes, train=2, val=1)


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
