"""PNG reading: what is written comes back, and kinds are told apart as Pillow tells them apart."""

import numpy as np
import pytest
from PIL import Image

from scapes import png


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


def test_ends_change_with_a_pixel_and_not_with_the_place(tmp_path):
    image = np.zeros((64, 64), np.uint16)
    png.write(tmp_path / "a.png", image)
    png.write(tmp_path / "b.png", image)
    image[10, 10] = 1
    png.write(tmp_path / "c.png", image)
    ends = [png.read_ends(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    assert ends[0] == ends[1] != ends[2]
