"""The explorers as a person moves them, what they show, and what is left of them where no kernel answers."""

import base64
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from scapes import cityscapes, png
from scapes.labels import CLASSES
from scapes.match import match_image
from scapes.predictions import Detections, from_masks
from synlib.curation.prune import prune
from synlib.report import curves, widgets
from synlib.report.pictures import fit
from synlib.spec import ScheduleSpec
from synlib.study.study import Study
from tests.fake_results import FakeStudy

HEIGHT, WIDTH = 20, 40
VIEW = "application/vnd.jupyter.widget-view+json"


def shown(explorer) -> np.ndarray:
    """The picture that the browser gets."""
    (jpeg,) = re.findall('data:image/jpeg;base64,([^"]+)', explorer.shown.value)
    return cv2.imdecode(np.frombuffer(base64.b64decode(jpeg), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def removal(study):
    return widgets.removal_explorer(study.data)


def numbers(explorer) -> list[list[int]]:
    """Of each class in the caption: instances left, and all of the image."""
    (caption,) = re.findall("<figcaption>(.*)</figcaption>", explorer.shown.value)
    return [[int(n) for n in re.search(rf" {name} (\d+) of (\d+)", caption).groups()] for name in CLASSES]


def test_the_common_slider_is_the_least_of_all_and_draws_once(removal):
    _, common, first, *_ = removal.children[0].children
    drawn = []
    removal.shown.observe(lambda change: drawn.append(change["new"]), "value")
    common.value = 100
    assert all(kept == 0 for kept, _ in numbers(removal))
    assert len(drawn) == 1
    first.value = 50
    assert numbers(removal)[0][0] == 0


def test_predictions_of_each_run_set_image_and_score_can_be_seen(trained, tmp_path):
    browser = widgets.prediction_browser(trained.study, [*trained.planned, trained.planned[0]])
    run, image, threshold = browser.children[0].children
    assert len(run.options) == len(trained.planned)
    sets = trained.study.data.evaluation_sets()
    images = [f"{on.name}: {i}" for on in sets[::-1] for i in cityscapes.read_images(on.root, on.split)["image_id"]]
    assert list(image.options) == images
    threshold.value = 0.0
    pictures = [shown(browser)]
    for widget, value in ((run, run.options[1][1]), (image, images[1]), (image, images[-1])):
        widget.value = value
        pictures.append(shown(browser))
    assert len({picture.tobytes() for picture in pictures}) == 4
    threshold.value = 1.0
    assert f"{run.label}, evaluated on {images[-1]}. Image, ground truth, detections" in browser.shown.value
    assert "score of 1.00 or more: 0," in browser.shown.value
    empty = Study(trained.study.profile.replace(runs=str(tmp_path)), trained.study.data)
    with pytest.raises(FileNotFoundError, match="train them first"):
        widgets.prediction_browser(empty, trained.planned)


def test_each_explorer_carries_what_it_shows_as_plain_html(removal, study, trained):
    for explorer in (removal, widgets.prediction_browser(trained.study, trained.planned)):
        bundle = explorer._repr_mimebundle_()
        assert {VIEW, "text/html", "text/plain"} == set(bundle)
        assert not re.search(r"https?:|<script", bundle["text/html"])
        assert "In JupyterLab, sliders" in bundle["text/html"]
        assert "data:image/jpeg;base64," in bundle["text/html"] or "<table" in bundle["text/html"]


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_shows_exactly_what_pruning_keeps(study, removal, seed):
    fractions = np.random.default_rng(seed).integers(0, 101, len(CLASSES)) / 100
    images, table = (read("synthetic", "train") for read in (study.data.images, study.data.instances))
    keep = prune(table, dict(zip(CLASSES, fractions, strict=True))) & ~table["crowd"]
    chooser, _, *sliders = removal.children[0].children
    for slider, fraction in zip(sliders, fractions, strict=True):
        slider.value = round(100 * fraction)
    for row in images[images["image_id"].isin(chooser.options)].itertuples():
        own = keep & (table["image_id"] == row.image_id)
        chooser.value = row.image_id
        counted = [(table["category"][own] == number).sum() for number in range(len(CLASSES))]
        assert [kept for kept, _ in numbers(removal)] == counted
        ids, image = png.read(row.instance_path, "gray 16"), png.read(row.image_path, "RGB 8")[..., ::-1]
        picture = widgets.painted(image, ids, table["instance_id"][own].to_numpy())
        kept = np.isin(ids, table["instance_id"][own])
        assert (picture[~kept] == image[~kept]).all()  # groups and background stay as they are
        assert (picture[kept] != image[kept]).any(-1).mean() > 0.9 or not kept.any()


def test_a_picture_is_shown_at_the_width_asked_for():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert (fit(image, 24)[1::3, 1::3] == image).all()
    assert fit(image, 4).shape == (3, 4, 3)
    labels = np.array([[7, 7, 900, 900]], np.uint16)
    assert set(fit(labels, 9).ravel()) == {7, 900}


def ground_truth() -> np.ndarray:
    """Two cars, a tiny car, a group of persons, on a road."""
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)
    ids[2:12, 2:12], ids[2:12, 20:30], ids[0, 0], ids[14:20, 0:12] = 26000, 26001, 26002, 24
    return ids


def detections(*found) -> Detections:
    """Of (class, score, rows and columns)."""
    masks = [np.zeros((HEIGHT, WIDTH), bool) for _ in found]
    for mask, (_, _, box) in zip(masks, found, strict=True):
        mask[box] = True
    categories = [CLASSES.index(name) for name, _, _ in found]
    return from_masks("a", (HEIGHT, WIDTH), categories, [score for _, score, _ in found], masks)


FIRST, SECOND = np.s_[2:12, 2:12], np.s_[2:12, 20:30]


@pytest.fixture
def at_size(monkeypatch):
    monkeypatch.setattr(widgets, "SHOWN_PX", 2 * WIDTH)


def panels(found: Detections, score: float) -> tuple[np.ndarray, str]:
    """On a gray image, at the size of the image."""
    image, match = np.full((HEIGHT, WIDTH, 3), 100, np.uint8), match_image(ground_truth(), found, min_area_px=10)
    return widgets.prediction_panels(image, ground_truth(), found, match, score)


@pytest.mark.parametrize(
    ("found", "true", "false"),
    [
        ([], 0, 0),
        ([("car", 0.9, FIRST), ("car", 0.8, SECOND)], 2, 0),
        ([("car", 0.7, FIRST), ("car", 0.9, FIRST)], 1, 1),  # found twice: the better score is right
        ([("person", 0.9, np.s_[14:20, 0:6])], 0, 0),  # part of a group: ignored
        ([("car", 0.9, np.s_[0:1, 0:1])], 0, 0),  # ground truth too small to count
    ],
)
def test_detections_are_judged_as_the_official_metric_does(found, true, false):
    _, said = panels(detections(*found), 0.0)
    expected = f"found: {true} of 2; detections with a score of 0.00 or more: {len(found)}, false ones: {false}"
    assert said == f"Instances {expected}"


def test_panels_show_the_detections_from_a_score_on_and_mark_errors(at_size):
    found = detections(("car", 0.9, FIRST), ("bus", 0.6, np.s_[15:19, 30:38]), ("car", 0.2, SECOND))
    gap = WIDTH + 6
    for score, text, true_car, false_bus, weak_car in (
        (0.0, "Instances found: 2 of 2; detections with a score of 0.00 or more: 3, false ones: 1", 1, 1, 1),
        (0.5, "Instances found: 1 of 2; detections with a score of 0.50 or more: 2, false ones: 1", 1, 1, 0),
        (0.8, "Instances found: 1 of 2; detections with a score of 0.80 or more: 1, false ones: 0", 1, 0, 0),
        (1.0, "Instances found: 0 of 2; detections with a score of 1.00 or more: 0, false ones: 0", 0, 0, 0),
    ):
        picture, said = panels(found, score)
        assert said == text
        assert picture.shape == (HEIGHT, 3 * WIDTH + 12, 3)
        plain, truth, predicted = (picture[:, start : start + WIDTH] for start in (0, gap, 2 * gap))
        assert (plain == 100).all()
        painted = (predicted != 100).any(-1)
        assert (painted[7, 7], painted[17, 34], painted[7, 25]) == (true_car, false_bus, weak_car)
        wrong = (truth == widgets.WRONG).all(-1)
        assert (wrong[:13, :15].any(), wrong[:13, 17:].any()) == (not true_car, not weak_car)
        assert (predicted == widgets.WRONG).all(-1).any() == false_bus
        assert (truth[15:19, 1:11] == 100).all()  # a group is no instance


def test_better_detections_cover_worse_ones(at_size):
    found = detections(("car", 0.9, FIRST), ("bus", 0.5, FIRST), ("train", 0.7, np.s_[0:0, 0:0]), ("car", 0.6, SECOND))
    picture, said = panels(found, 0.4)
    assert "or more: 3, false ones: 1" in said  # detections without a pixel do not exist
    (only, _), predicted = panels(detections(("car", 0.9, FIRST)), 0.4), np.s_[4:11, 2 * (WIDTH + 6) + 4 :][:2]
    assert (picture[predicted][:, :7] == only[predicted][:, :7]).all()


@pytest.mark.parametrize("effective", [False, True])
def test_each_run_can_be_pointed_at(effective):
    results = FakeStudy(seeds=(0, 1)).results["fine_tuning"]
    failed, why = results["run"] == "fine_tuning/lr 0.06, momentum 0/1", "diverged at iteration 7 & <8"
    results = results.assign(ap=results["ap"].mask(failed), state=results["state"].mask(failed, why))
    figure = curves.figure6(results, ScheduleSpec(), effective=effective)
    bundle = widgets.Tooltips(figure)._repr_mimebundle_()
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(bundle["image/png"]), np.uint8), cv2.IMREAD_COLOR)
    document = ET.fromstring(bundle["text/html"])
    assert document.find("img").get("src").endswith(bundle["image/png"])
    boxes = document.findall("i")
    marks = list(figure.tooltips.values())
    assert [box.get("title") for box in boxes] == [text.replace("\n", " ") for texts in marks for text in texts]
    assert [len(texts) for texts in marks] == [5, 2, 5, 1]  # momentum 0, its crosses, momentum 0.9, its crosses
    rows = results[(results["evaluated on"] == "Cityscapes") & (results["class"] == "mean")].set_index("run")
    for seed, text in enumerate(marks[2][1].split("\n")):
        run = f"fine_tuning/lr 0.0002, momentum 0.9/{seed}"
        ap = "AP {:.1f} ({:.1f} – {:.1f})".format(*rows.loc[run, ["ap", "low", "high"]])
        assert text == f"run {run}, seed {seed}, learning rate 0.0002, momentum 0.9, {ap}"
    expected = f"run fine_tuning/lr 0.06, momentum 0/1, seed 1, learning rate 0.06, momentum 0, {why}"
    assert marks[1][0].split("\n")[1] == marks[0][4].split("\n")[1] == expected
    colors = np.array([255 * np.array(to_rgb(curve.get_color())) for curve in figure.tooltips])
    for box in boxes:  # each lies on a mark, perhaps on one that covers it
        left, bottom = (float(part) / 100 for part in re.findall(r"(?:left|bottom): ([\d.]+)%", box.get("style")))
        pixel = picture[round((1 - bottom) * len(picture)), round(left * picture.shape[1]), ::-1]
        assert abs(pixel - colors).max(1).min() < 60, box.get("title")
