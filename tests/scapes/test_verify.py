"""Malformed data: each kind of fault is found in the file that has it, and nothing takes it for good data."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from scapes import cityscapes, png
from scapes.files import BadFile
from scapes.synthetic import SYNSCAPES
from scapes.verify import has_errors, summarize, verify_dataset
from synlib.curation.harmonize import harmonize_dataset
from tests import tiny_data


def check(root, **options):
    return verify_dataset(root, workers=1, **options)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


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
    (tmp_path / "out" / cityscapes.MANIFEST).write_text("[]")
    assert "unfinished" in check(tmp_path / "out")["kind"].tolist()


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
