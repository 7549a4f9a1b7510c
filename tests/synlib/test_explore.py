"""What the explorers show: against pruning itself, and against detections made by hand."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scapes import png
from scapes.labels import CLASSES
from scapes.match import match_image
from scapes.predictions import IMAGES_PER_ROW_GROUP, Detections, write_predictions
from synlib.curation.mix import Composition
from synlib.curation.prune import prune, removed_from
from synlib.report import curves, explore, hover

HEIGHT, WIDTH = 20, 40


@pytest.fixture(scope="module")
def scenes(study):
    """Scenes of the smoke study at the size of its images, with their instance tables."""
    images = study.data.images("synthetic", "train")
    table = study.data.instances("synthetic", "train")
    table = table.assign(removed_from=removed_from(table))
    scenes = {}
    for row in images.itertuples():
        ids = png.read(row.instance_path, "gray 16")
        image = png.read(row.image_path, "RGB 8")[..., ::-1]
        rows = table[table["image_id"] == row.image_id]
        scenes[row.image_id] = explore.removal_scene(image, ids, rows, width=image.shape[1]), image, ids, rows
    return table, scenes


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_shows_exactly_what_pruning_keeps(scenes, seed):
    table, scenes = scenes
    fractions = np.random.default_rng(seed).integers(0, 101, len(CLASSES)) / 100
    keep = prune(table, dict(zip(CLASSES, fractions, strict=True))) & ~table["crowd"]
    for scene, image, ids, rows in scenes.values():
        kept = np.isin(ids, rows.loc[keep[rows.index], "instance_id"])
        picture = scene.picture(fractions)
        assert (picture[~kept] == image[~kept]).all()
        assert (picture[kept] == scene.painted[kept]).all()
        assert (scene.counts(fractions)[:, 0].sum(), len(scene.category)) == (
            keep[rows.index].sum(),
            (~rows.crowd).sum(),
        )


def test_all_or_nothing(scenes):
    _, scenes = scenes
    for scene, image, ids, rows in scenes.values():
        single = np.isin(ids, rows.loc[~rows["crowd"], "instance_id"])
        assert ((scene.painted != image).any(-1) <= single).all()  # groups and background stay as they are
        assert (scene.picture(np.ones(len(CLASSES))) == image).all()
        assert (scene.picture(np.zeros(len(CLASSES))) == scene.painted).all()


def test_a_picture_is_shown_at_the_width_asked_for():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert (explore.fit(image, 24)[1::3, 1::3] == image).all()
    assert explore.fit(image, 4).shape == (3, 4, 3)
    labels = np.array([[7, 7, 900, 900]], np.uint16)
    assert set(explore.fit(labels, 9).ravel()) == {7, 900}


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
    return Detections.from_masks("a", (HEIGHT, WIDTH), categories, [score for _, score, _ in found], masks)


FIRST, SECOND = np.s_[2:12, 2:12], np.s_[2:12, 20:30]


@pytest.mark.parametrize(
    ("found", "true", "false"),
    [
        ([], [], []),
        ([("car", 0.9, FIRST), ("car", 0.8, SECOND)], [0, 1], []),
        ([("car", 0.7, FIRST), ("car", 0.9, FIRST)], [1], [0]),  # found twice: the better score is right
        ([("bus", 0.9, FIRST)], [], [0]),
        ([("car", 0.9, np.s_[2:12, 2:7])], [], [0]),  # half is not enough
        ([("person", 0.9, np.s_[14:20, 0:6])], [], []),  # part of a group: ignored
        ([("car", 0.9, np.s_[0:1, 0:1])], [], []),  # ground truth too small to count
    ],
)
def test_detections_are_judged_as_the_official_metric_does(found, true, false):
    match = match_image(ground_truth(), detections(*found), min_area_px=10)
    judged = explore.judge(match.predictions, match.truths)
    assert [np.flatnonzero(part).tolist() for part in judged] == [true, false]


def test_panels_show_the_detections_from_a_score_on_and_mark_errors():
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    found = detections(("car", 0.9, FIRST), ("bus", 0.6, np.s_[15:19, 30:38]), ("car", 0.2, SECOND))
    gap = WIDTH + 6
    for score, text, true_car, false_bus, weak_car in (
        (0.0, "Instances found: 2 of 2; detections with a score of 0.00 or more: 3, false ones: 1", 1, 1, 1),
        (0.5, "Instances found: 1 of 2; detections with a score of 0.50 or more: 2, false ones: 1", 1, 1, 0),
        (0.8, "Instances found: 1 of 2; detections with a score of 0.80 or more: 1, false ones: 0", 1, 0, 0),
        (1.0, "Instances found: 0 of 2; detections with a score of 1.00 or more: 0, false ones: 0", 0, 0, 0),
    ):
        picture, said = explore.prediction_panels(image, ground_truth(), found, score, 10, width=WIDTH)
        assert said == text
        assert picture.shape == (HEIGHT, 3 * WIDTH + 12, 3)
        plain, truth, predicted = (picture[:, start : start + WIDTH] for start in (0, gap, 2 * gap))
        assert (plain == 100).all()
        painted = (predicted != 100).any(-1)
        assert (painted[7, 7], painted[17, 34], painted[7, 25]) == (true_car, false_bus, weak_car)
        wrong = (truth == explore.WRONG).all(-1)
        assert (wrong[:13, :15].any(), wrong[:13, 17:].any()) == (not true_car, not weak_car)
        assert (predicted == explore.WRONG).all(-1).any() == false_bus
        assert (truth[15:19, 1:11] == 100).all()  # a group is no instance


def test_better_detections_cover_worse_ones():
    chosen = explore.at_least(detections(("car", 0.9, FIRST), ("bus", 0.5, FIRST), ("car", 0.1, SECOND)), 0.5)
    assert chosen.score.tolist() == pytest.approx([0.5, 0.9])


def test_one_image_is_read_from_a_file_of_many(tmp_path):
    path = tmp_path / "predictions.parquet"
    ids = [f"image{number}" for number in range(IMAGES_PER_ROW_GROUP + 3)]
    empty = np.empty(0)
    write_predictions(path, (Detections(name, (2, 3), empty, empty, empty, []) for name in ids))
    assert [explore.read_detections(path, name).image_id for name in (ids[0], ids[-1])] == [ids[0], ids[-1]]
    with pytest.raises(KeyError, match="no image other"):
        explore.read_detections(path, "other")


def test_a_composition_says_how_often_its_images_are_seen():
    text = explore.composition_html(Composition(2975, 9825), Composition(2975, 20000), batch_size=8, iterations=80_000)
    assert "12,800 images 50.0 times" in text
    assert re.findall(r"<td>(.*?)</td>", text) == ["2,975", "23 %", "2,975", "9,825", "77 %", "20,000"]
    assert sum(map(float, re.findall(r"width:([\d.]+)%", text))) == pytest.approx(100, abs=0.02)


@pytest.fixture
def results() -> pd.DataFrame:
    rows = [
        {"run": f"run{seed}{lr}{momentum}", "seed": seed, "learning_rate": lr, "momentum": momentum}
        | {"evaluated on": on, "class": name, "ap": 20 + 1000 * lr, "low": 19.0, "high": 31.0, "state": "done"}
        for seed in (0, 1)
        for momentum, rates in {0.9: (0.0001, 0.001), 0.0: (0.001, 0.01)}.items()
        for lr in rates
        for on in ("Cityscapes", "Synscapes")
        for name in ("car", "mean")
    ]
    table = pd.DataFrame(rows)
    failed = table["run"] == "run10.010.0"
    return table.assign(
        ap=table["ap"].mask(failed), state=table["state"].mask(failed, "failed: diverged at iteration 7 & <8")
    )


def test_each_run_can_be_pointed_at_in_both_panels(results):
    document = ET.fromstring(hover.learning_rate_html(results))
    for panel in document.iter("svg"):
        titles = [title.text for title in panel.iter("title")]
        assert len(titles) == 8
        assert "run run00.0010.9, seed 0; learning rate 0.001, momentum 0.9; AP 21.0 (19.0 – 31.0)" in titles
        assert "run run10.010.0, seed 1; learning rate 0.01, momentum 0; failed: diverged at iteration 7 & <8" in titles
        _, _, width, height = map(float, panel.get("viewBox").split())
        for mark in panel.iter("g"):
            if mark.get("class") == "mark":
                x, y = map(float, re.findall(r"[-\d.]+", mark.get("transform")))
                box = mark.find("g/rect")
                left, top = x + float(box.get("x")), y + float(box.get("y"))
                assert 0 <= left <= left + float(box.get("width")) <= width
                assert 0 <= top <= top + float(box.get("height")) <= height


def test_a_momentum_looks_as_in_figure6(results):
    figure = curves.figure6(results)
    svg = next(ET.fromstring(hover.learning_rate_html(results)).iter("svg"))
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    for place, momentum in enumerate((0.0, 0.9)):
        drawn = lines[f"momentum {momentum:g}"]
        colors = [item.get("stroke") for item in svg.iter("polyline")]
        assert colors[place] == to_hex(drawn.get_color())
        assert hover.MARKS[place] == (colors[place], hover.OUTLINES[drawn.get_marker()])


def test_the_same_effective_learning_rate_lies_at_the_same_place(results):
    _, second = ET.fromstring(hover.learning_rate_html(results)).iter("svg")
    places = {}
    for mark in second.iter("g"):
        if mark.get("class") == "mark":
            x = re.findall(r"[-\d.]+", mark.get("transform"))[0]
            places.setdefault(x, []).append(mark.find("title").text)
    assert len(places) == 2  # of the four settings, two and two are the same
    assert all(len(titles) == 4 for titles in places.values())


def test_results_on_another_set_are_refused(results):
    with pytest.raises(ValueError, match=r"no mean AP on 'KITTI'; found \['Cityscapes', 'Synscapes'\]"):
        hover.learning_rate_html(results, "KITTI")


@pytest.mark.parametrize(("low", "high"), [(0.0001, 0.3), (0.002, 0.05), (0.009, 0.012), (0.5, 70)])
def test_ticks_are_round_numbers_inside(low, high):
    ticks = hover.log_ticks(low, high)
    assert 1 <= len(ticks) <= 7
    assert all(low <= tick <= high and f"{tick:.6e}"[:8] in ("1.000000", "2.000000", "5.000000") for tick in ticks)
    assert hover.log_ticks(0.0025, 0.0036) == [pytest.approx(0.003)]
    ticks = hover.linear_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
