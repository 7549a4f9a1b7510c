"""Files: of two writers of one folder the second waits and gets its turn; a PNG comes back as it was written."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from scapes import png
from scapes.files import only_one


def enter(folder, **options):
    with only_one(folder, **options):
        return "in"


def test_waits_and_says_so(tmp_path, capfd):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with ThreadPoolExecutor(2) as pool:
        for name in ("data", "link"):  # two names of one folder
            with only_one(tmp_path / name):
                waiting = pool.submit(enter, tmp_path / "data", say_after_s=0)
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=0.5)
                assert enter(tmp_path / "other") == "in"
                with pytest.raises(ZeroDivisionError):  # of what is asked meanwhile
                    pool.submit(enter, tmp_path / "data", say_after_s=0, check=lambda: 1 / 0).result()
            assert waiting.result() == "in"
    assert capfd.readouterr().err.count("data: another process is writing there") == 4
    assert list((tmp_path / "data").iterdir()) == [] and not (tmp_path / "other").exists()


def test_parent_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("scapes.files.os.open", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert enter(tmp_path / "data") == "in"


@pytest.mark.parametrize(
    ("kind", "dtype", "shape"),
    [("gray 8", np.uint8, (5, 7)), ("gray 16", np.uint16, (5, 7)), ("RGB 8", np.uint8, (5, 7, 3))],
)
def test_round_trip(tmp_path, kind, dtype, shape):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    png.write(tmp_path / "a.png", image)
    again = png.read(tmp_path / "a.png", kind)
    assert again.dtype == dtype and again.tolist() == image.tolist()
    header = png.read_header(tmp_path / "a.png")
    assert header[:2] == (5, 7) and header.kind == kind
    with Image.open(tmp_path / "a.png") as pillow:
        theirs = np.asarray(pillow)
    assert theirs.tolist() == (image[..., ::-1] if image.ndim == 3 else image).tolist()
