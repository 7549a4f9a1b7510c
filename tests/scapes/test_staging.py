"""Data sets copied to a node's own disk: once, complete, and equal to the source."""

import multiprocessing
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from scapes import cityscapes, png
from scapes.instances import fingerprint
from scapes.staging import PATHS, staged
from tests.faults.campaign import written


@pytest.fixture(scope="module")
def source(smoke_data):
    """The real domain of the smoke data: root, image table, fingerprint."""
    root = smoke_data / "cityscapes"
    images = cityscapes.read_images(root, "train")
    return root, images, fingerprint(images)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_copy_is_the_data_set(source, tmp_path):
    root, images, data = source
    copies = staged(images, root, tmp_path, data)
    originals = [Path(path) for name in PATHS for path in images[name]]
    assert files(tmp_path / data) == {str(path.relative_to(root)): path.read_bytes() for path in originals}
    assert all(path.startswith(str(tmp_path)) for name in PATHS for path in copies[name])
    assert copies.drop(columns=list(PATHS)).equals(images.drop(columns=list(PATHS)))
    whole, before = files(tmp_path / data), written(tmp_path, "*.png")
    assert staged(images, root, tmp_path, data).equals(copies)
    assert written(tmp_path, "*.png") == before
    gone, cut = Path(copies["image_path"][0]), Path(copies["label_path"][1])
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:10])
    staged(images, root, tmp_path, data)
    assert files(tmp_path / data) == whole
    assert {path for path, time in written(tmp_path, "*.png").items() if before[path] != time} == {gone, cut}
    # Another file of the same size: the checksum of its last chunk of pixels.
    content = cut.read_bytes()
    cut.write_bytes(content[:-16] + bytes(4) + content[-12:])
    with pytest.raises(ValueError, match=f"expected {data}; delete the folder"):
        staged(images, root, tmp_path, data)


def test_arrays_are_the_pixels_and_a_cut_one_is_made_again(source, tmp_path):
    root, images, data = source
    copies = staged(images, root, tmp_path, data, arrays=True)
    for name in ("image_path", "instance_path"):
        assert copies[name].str.endswith(".png.npy").all()
        assert all(map(np.array_equal, map(np.load, copies[name]), map(png.read, images[name])))
    assert copies["label_path"].str.endswith("labelIds.png").all()
    (tmp_path / data).joinpath(cut := copies["image_path"][0]).write_bytes(b"half")
    before = written(tmp_path, "*.np?")
    assert staged(images, root, tmp_path, data, arrays=True).equals(copies)
    assert np.array_equal(np.load(cut), png.read(images["image_path"][0]))
    assert {str(path) for path, time in written(tmp_path, "*.np?").items() if before[path] != time} == {cut}


def test_many_trainings_make_one_copy(source, tmp_path):
    root, images, data = source
    with multiprocessing.get_context("fork").Pool(4) as pool:
        tables = pool.starmap(staged, [(images, root, tmp_path, data)] * 4)
    assert all(table.equals(tables[0]) for table in tables)
    assert not [name for name in files(tmp_path / data) if ".tmp" in name]
    assert fingerprint(tables[0]) == data


def test_without_room_or_with_another_content_nothing_is_copied(source, tmp_path, monkeypatch):
    root, images, data = source
    usage, write = namedtuple("usage", "free"), Path.write_bytes
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1000))
        with pytest.raises(OSError, match=r"found 0.0 GB of room, expected .* choose another execution.stage_dir"):
            staged(images, root, tmp_path, data)
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: write(path, content[:-1]))
    with pytest.raises(OSError, match="the copy differs from"):
        staged(images, root, tmp_path, data)
    with pytest.raises(ValueError, match=r"stage_dir: found \$NO_SUCH/data, which is \$NO_SUCH/data on this node"):
        staged(images, root, "$NO_SUCH/data", data)
    assert not list(tmp_path.rglob("*.png"))
