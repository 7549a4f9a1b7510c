"""Submissions: the official evaluator run on the files gives the AP of the detections they were written from."""

import zipfile

import numpy as np
import pytest

from scapes.ap import average_precision
from scapes.predictions import Detections
from scapes.submit import check_submission, write_submission
from tests import official
from tests.cases import draw_data_set, matched

IDS = [f"berlin_{number:06d}_000019" for number in range(12)]


@pytest.fixture
def data_set(tmp_path):
    paths, _, detections = draw_data_set(np.random.default_rng(3), tmp_path, len(IDS))
    fields = ("size", "category", "score", "boxes", "masks")
    return paths, [Detections(i, *(getattr(d, name) for name in fields)) for i, d in zip(IDS, detections, strict=True)]


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_the_official_evaluator_reads_the_same_predictions(tmp_path, data_set):
    paths, detections = data_set
    options = {"expected_images": IDS, "size": detections[0].size}
    write_submission(iter(detections), tmp_path / "out.zip", **options)
    table = check_submission(tmp_path / "out.zip", **options)
    assert table.index.tolist() == IDS
    assert table.sum(axis=1).tolist() == [sum(mask.any() for mask in item.masks) for item in detections]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "out")
    texts = [tmp_path / "out" / f"{image_id}.txt" for image_id in IDS]
    reference = official.evaluate_files(paths, texts, tmp_path / "out", min_area_px=4)
    found = average_precision(matched(paths, detections, min_area_px=4))
    np.testing.assert_allclose(found.ap, reference["resultApMatrix"][0], rtol=0, atol=1e-12)


def test_wrong_images_are_named_and_leave_no_file(tmp_path, data_set):
    _, detections = data_set
    options = {"expected_images": IDS, "size": detections[0].size}
    for items, message in [
        (detections[1:], f"image {IDS[0]}: found no record"),
        ([*detections, detections[0]], f"image {IDS[0]}: found several records"),
        ([*detections, Detections("bonn_000000_000019", detections[0].size, [], [], [], [])], "bonn.*expected none"),
        ([Detections("17", detections[0].size, [], [], [], [])], "image 17: expected an id CITY_SEQ_FRAME"),
        ([Detections(IDS[0], (3, 4), [], [], [], [])], rf"image {IDS[0]}: found masks of \(3, 4\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_submission(items, tmp_path / "out.zip", **options)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masks/a.png 26", "Invalid prediction file"),
        ("masks/b.png 26 0.5", "found no file b.png"),
        ("masks/a.png 29 0.5", "expected a label id"),
        ("masks/a.png 26 nan", "finite score"),
        ("/masks/a.png 26 0.5", "relative path"),
        ("../a.png 26 0.5", "outside of prediction path"),
        (None, "Found no prediction"),
    ],
)
def test_what_the_server_would_refuse_is_named(tmp_path, text, message):
    empty = Detections(IDS[0], (3, 4), [0], [0.5], [[0, 0, 1, 1]], [np.ones((1, 1), bool)])
    write_submission([empty], tmp_path / "good.zip", expected_images=IDS[:1], size=(3, 4))
    with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        bad.writestr("masks/a.png", good.read(f"masks/{IDS[0]}_000.png"))
        if text is not None:
            bad.writestr(f"{IDS[0]}.txt", text)
    with pytest.raises(ValueError, match=f"{IDS[0]}.*{message}"):
        check_submission(tmp_path / "bad.zip", expected_images=IDS[:1], size=(3, 4))
