"""The explorers as a person moves them, what they show, and what is left of them where no kernel answers."""

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from scapes import cityscapes, png
from scapes.instances import image_instances
from scapes.labels import CLASSES
from scapes.match import match_image, pool
from scapes.predictions import Detections, from_masks, write_predictions
from synlib.curation.prune import prune
from synlib.report import curves, figures, mistakes, widgets
from synlib.report.pictures import fit
from synlib.report.style import CLASS_COLORS
from synlib.spec import ScheduleSpec
from synlib.study.study import Study
from tests import tiny_data
from tests.fake_results import FakeStudy

HEIGHT, WIDTH = 20, 40
FIRST, SECOND = np.s_[2:12, 2:12], np.s_[2:12, 20:30]
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def removal(study):
    return widgets.removal_explorer(study.data)


def numbers(explorer) -> list[list[int]]:
    """Of each class in the caption: instances left, and all of the image."""
    (caption,) = re.findall("<figcaption>(.*)</figcaption>", explorer.shown.value)
    return [[int(n) for n in re.search(rf" {name} (\d+) of (\d+)", caption).groups()] for name in CLASSES]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_photo_of_each_kind_is_a_picture(tmp_path, mode):
    photo = Image.fromarray(tiny_data.photo(HEIGHT, WIDTH, 1)).convert(mode)
    photo.save(tmp_path / "photo.png")
    png.write(tmp_path / "ids.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    picture, _ = figures.read({"image_path": tmp_path / "photo.png", "instance_path": tmp_path / "ids.png"})
    assert (picture == np.array(photo.convert("RGB"))).all()


def test_the_common_slider_is_the_least_of_all_and_draws_once(removal):
    _, common, first, *_ = removal.children[0].children
    drawn = []
    removal.shown.observe(lambda change: drawn.append(change["new"]), "value")
    common.value = 100
    assert all(kept == 0 for kept, _ in numbers(removal))
    assert len(drawn) == 1
    first.value = 50
    assert numbers(removal)[0][0] == 0


def test_predictions_of_two_runs_are_seen_on_each_image_the_worst_first(trained, tmp_path):
    browser = widgets.prediction_browser(trained.study, [*trained.planned, trained.planned[0]])
    first, second, chosen, place, score = browser.children[0].children
    assert len(first.options) == len(trained.planned) == len(second.options) - 1
    assert first.value != second.value
    for on in trained.study.data.evaluation_sets():
        chosen.value, seen = on, []
        for number in range(1, 5):
            place.value = number
            texts = re.findall("<figcaption><b>(.*?)</b>: (.*)</figcaption>", browser.shown.value)
            assert [title for title, _ in texts[1:]] == [first.label, second.label]
            missed, false = (int(re.search(rf"(\d+) {what}", texts[1][1])[1]) for what in ("missed", "false"))
            errors = f"{missed + false} errors of the first run (score ≥ 0.5)"
            assert texts[0][1] == f"image {number} of 4 on {on.name}, {errors}"
            seen.append((texts[0][0], missed + false, re.search('base64,([^"]+)', browser.shown.value)[1]))
        images, counts, photos = zip(*seen, strict=True)
        assert sorted(images) == cityscapes.read_images(on.root, on.split)["image_id"].tolist()
        assert list(counts) == sorted(counts, reverse=True) and len(set(photos)) == 4
    first.value = second.value
    assert browser.shown.value.count(f"<b>{second.label}</b>") == 2
    score.value = 1.0
    assert browser.shown.value.count("0 detections, 0 false") == 2
    second.label = "none"
    assert browser.shown.value.count("<img") == 3
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
    ids[FIRST], ids[SECOND], ids[0, 0], ids[14:20, 0:12] = 26000, 26001, 26002, 24
    return ids


def detections(*found, size=(HEIGHT, WIDTH)) -> Detections:
    """Of (class, score, rows and columns or a mask)."""
    masks = [np.zeros(size, bool) for _ in found]
    for mask, (_, _, box) in zip(masks, found, strict=True):
        mask[box] = True
    categories = [CLASSES.index(name) for name, _, _ in found]
    return from_masks("a", size, categories, [score for _, score, _ in found], masks)


@pytest.fixture
def panels(monkeypatch):
    """Of detections and a score: what is said, the pictures on a gray image at its size, and the titles of each."""
    monkeypatch.setattr(widgets, "SHOWN_PX", 2 * WIDTH)
    monkeypatch.setattr(widgets, "jpeg", lambda image: ("raw", image, (WIDTH, HEIGHT)))

    def made(found: Detections, score: float) -> tuple[str, list[np.ndarray], list[list[str]]]:
        image, tables = np.full((HEIGHT, WIDTH, 3), 100, np.uint8), mistakes.compared(ground_truth(), found, 10)
        said, shown = widgets.prediction_panels(image, ground_truth(), tables, score)
        pages = [str(widgets.HTML.explorer([("", "", [item])], CLASS_COLORS)) for item in shown]
        return said, [item[1] for item in shown], [re.findall('title="(.*?)"', page) for page in pages]

    return made


@pytest.mark.parametrize(
    ("found", "true", "false", "kinds"),
    [
        ([], 0, 0, ""),
        ([("car", 0.9, FIRST), ("car", 0.8, SECOND)], 2, 0, ""),
        ([("car", 0.7, FIRST), ("car", 0.9, FIRST)], 1, 1, ": 1 duplicate"),  # the better score is right
        ([("person", 0.9, np.s_[14:20, 0:6])], 0, 0, ""),  # part of a group: ignored
        ([("car", 0.9, np.s_[0:1, 0:1])], 0, 0, ""),  # ground truth too small to count
        ([("bus", 0.9, FIRST), ("bus", 0.8, np.s_[2:12, 25:35])], 0, 2, ": 1 wrong class, 1 background"),
        ([("car", 0.9, np.s_[2:12, 25:35]), ("car", 0.8, np.s_[15:19, 30:38])], 0, 2, ": 1 inexact, 1 background"),
        ([("car", 0.6, FIRST), ("car", 0.9, np.s_[2:12, 2:6])], 1, 1, ": 1 inexact"),
    ],
)
def test_detections_are_judged_as_the_official_metric_does(panels, found, true, false, kinds):
    said, _, (_, titles) = panels(detections(*found), 0.0)
    assert said.startswith(f"{true} of 2 instances found, {2 - true} missed; {len(found)} detection")
    assert said.endswith(f", {false} false{kinds}")
    assert sorted(title.split(":")[0] for title in titles) == sorted(f"{name} {p:.2f}" for name, p, _ in found)


def test_the_image_with_most_errors_is_the_worst():
    found = {"a": [("car", 0.9, FIRST)], "b": [("bus", 0.9, FIRST)], "c": [("car", 0.9, FIRST), ("car", 0.4, SECOND)]}
    found |= {"d": [("car", 0.9, FIRST), ("car", 0.8, FIRST), ("car", 0.7, SECOND)], "e": []}
    items = [replace(detections(*of_image), image_id=name) for name, of_image in found.items()]
    found = mistakes.by_image(pool(match_image(ground_truth(), item, min_area_px=10) for item in items))
    assert found.to_dict() == {"b": 3, "e": 2, "a": 1, "c": 1, "d": 1}
    assert found.index.tolist() == ["b", "e", "a", "c", "d"]


def test_confusion_counts_each_detection_and_each_instance_that_is_missed(study, store):
    """Of exact masks: a quarter each is right, of the next class, too unsure to count, and repeated."""
    study = Study(study.profile.replace(runs=str(store.root)))
    on, run = study.data.evaluation_sets()[0], study.store.run("0123456789ab")
    expected = pd.DataFrame(0, [*CLASSES, *mistakes.FALSE[1:]], [*CLASSES, mistakes.MISSED])
    items = []
    for image in cityscapes.read_images(on.root, on.split).itertuples():
        ids = png.read(image.instance_path, "gray 16")
        table = pd.DataFrame(image_instances(ids)).query("not crowd and area_px >= @on.min_area_px")
        found = []
        for number, row in enumerate(table.itertuples()):
            right, other, unsure, twice = (np.arange(4) == number % 4).tolist()
            name, wrong = CLASSES[row.category], CLASSES[(row.category + 1) % len(CLASSES)]
            found += [(wrong if other else name, 0.4 if unsure else 0.9, ids == row.instance_id)]
            found += [(name, 0.8, ids == row.instance_id)] * twice
            expected.loc[name, wrong] += other
            expected.loc[name, name] += right or twice
            expected.loc[name, mistakes.MISSED] += other or unsure
            expected.loc["duplicate", name] += twice
        items.append(replace(detections(*found, size=ids.shape), image_id=image.image_id))
    write_predictions(run.evaluation(on.name) / "predictions.parquet", items)
    assert expected.to_numpy().sum() > 20 and expected.loc["duplicate"].sum() > 0
    found = mistakes.confusion(study, run.path.name, on.name).data
    pd.testing.assert_frame_equal(found, expected, check_names=False)


def test_panels_show_the_detections_from_a_score_on_and_mark_errors(panels):
    found = detections(("car", 0.9, FIRST), ("bus", 0.6, np.s_[15:19, 30:38]), ("car", 0.2, SECOND))
    for score, text, true_car, false_bus, weak_car in (
        (0.0, "2 of 2 instances found, 0 missed; 3 detections, 1 false: 1 background", 1, 1, 1),
        (0.5, "1 of 2 instances found, 1 missed; 2 detections, 1 false: 1 background", 1, 1, 0),
        (0.8, "1 of 2 instances found, 1 missed; 1 detection, 0 false", 1, 0, 0),
        (1.0, "0 of 2 instances found, 2 missed; 0 detections, 0 false", 0, 0, 0),
    ):
        said, (truth, predicted), (of_truth, of_predicted) = panels(found, score)
        assert said == text
        assert truth.shape == predicted.shape == (HEIGHT, WIDTH, 3)
        painted = (predicted != 100).any(-1)
        assert (painted[7, 7], painted[17, 34], painted[7, 25]) == (true_car, false_bus, weak_car)
        wrong = (truth == widgets.WRONG).all(-1)
        assert (wrong[:13, :15].any(), wrong[:13, 17:].any()) == (not true_car, not weak_car)
        assert (predicted == widgets.WRONG).all(-1).any() == false_bus
        assert (truth[15:19, 1:11] == 100).all()  # a group is no instance
        states = ["found" if is_found else "missed" for is_found in (true_car, weak_car)]
        assert of_truth == [f"car: {state}" for state in states] + ["car: not counted"]
        all_titles = ["car 0.90: right", "car 0.20: right", "bus 0.60: background"]  # the smallest last, on top
        shown = [bool(there) for there in (true_car, weak_car, false_bus)]
        assert of_predicted == [title for title, there in zip(all_titles, shown, strict=True) if there]


def test_better_detections_cover_worse_ones(panels):
    found = detections(("car", 0.9, FIRST), ("bus", 0.5, FIRST), ("train", 0.7, np.s_[0:0, 0:0]), ("car", 0.6, SECOND))
    said, (_, predicted), _ = panels(found, 0.4)
    assert "3 detections, 1 false: 1 wrong class" in said  # detections without a pixel do not exist
    _, (_, only), _ = panels(detections(("car", 0.9, FIRST)), 0.4)
    assert (predicted[4:11, 4:11] == only[4:11, 4:11]).all()


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
