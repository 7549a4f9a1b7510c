"""Explorers for JupyterLab, and a figure whose marks say which runs they are; HTML where no kernel answers.

Images are uint8 (H, W, 3) RGB arrays, instance ids integer arrays (H, W).
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import ipywidgets
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from scapes import cityscapes, match, predictions
from scapes.labels import CATEGORY_OF_LABEL, CLASSES, label_of_instance
from synlib.curation.prune import removed_from
from synlib.report.figures import read, training_image
from synlib.report.mistakes import FALSE, INEXACT, MISSED, SURE, by_image, compared
from synlib.report.pictures import fit, outline, paint
from synlib.report.style import CLASS_COLORS
from synlib.study.data import StudyData
from synlib.study.plan import Planned
from synlib.study.study import Study

IMAGES = 40  # of a data set that the chooser of :func:`removal_explorer` offers
SHOWN_PX = 960  # width of a picture; larger images are reduced to it and smaller ones magnified
WRONG = (255, 225, 0)  # yellow: none of the classes' colours is near it
HTML = Environment(loader=PackageLoader("synlib.report"), autoescape=True).get_template("widgets.j2").module
NAMED = {"style": {"description_width": "8em"}, "layout": {"width": "32em"}}


class Explorer(ipywidgets.VBox):
    """Controls, and below them the HTML that ``draw`` makes of their values; without a kernel, that HTML alone."""

    def __init__(self, controls: Sequence[ipywidgets.Widget], draw: Callable[[], str]) -> None:
        self.draw, self.shown = draw, ipywidgets.HTML()
        columns = {"grid_template_columns": "repeat(auto-fill, 33em)"}
        super().__init__([ipywidgets.GridBox(controls, layout=columns), self.shown])
        for control in controls:
            control.observe(self.update, "value")
        self.update()

    def update(self, _=None) -> None:
        self.shown.value = self.draw()

    def _repr_mimebundle_(self, **options) -> dict:
        still = f"{self.shown.value}<p>In JupyterLab, sliders and choosers change what is shown.</p>"
        return super()._repr_mimebundle_(**options) | {"text/html": still, "text/plain": "(an explorer)"}


def removal_explorer(data: StudyData) -> Explorer:
    """Figure 3 to play with, for the images with most classes and instances. Thresholds: percent of the whole split."""
    instances = data.instances("synthetic", "train")
    instances = instances.assign(removed_from=removed_from(instances))[~instances["crowd"]]
    richest = instances.groupby("image_id")["category"].agg(["nunique", "size"])
    richest = richest.sort_values(["nunique", "size"], ascending=False, kind="stable").index[:IMAGES].tolist()
    chooser = ipywidgets.Dropdown(options=richest, description="image", **NAMED)
    common = ipywidgets.IntSlider(0, 0, 100, description="all, at least (%)", **NAMED)
    sliders = [ipywidgets.IntSlider(0, 0, 100, description=f"{name} (%)", **NAMED) for name in CLASSES]
    for slider, name in zip(sliders, CLASSES, strict=True):
        slider.style.handle_color = "#{:02x}{:02x}{:02x}".format(*CLASS_COLORS[name])
    scene = lru_cache(maxsize=8)(lambda name: [fit(a, SHOWN_PX) for a in training_image(data, "synthetic", name)])

    def draw() -> str:
        there = instances[instances["image_id"] == chooser.value]
        removed = np.array([max(slider.value, common.value) for slider in sliders]) / 100
        kept = there[there["removed_from"] > removed[there["category"]]]
        said = HTML.kept(kept["category"].tolist(), there["category"].tolist(), CLASSES)
        shown = jpeg(painted(*scene(chooser.value), kept["instance_id"]))
        return HTML.explorer([(chooser.value, said, [shown])], CLASS_COLORS)

    return Explorer([chooser, common, *sliders], draw)


def prediction_browser(study: Study, planned: Sequence[Planned]) -> Explorer:
    """Runs with predictions on all evaluation sets, on images where the first errs most; FileNotFoundError without."""
    sets = sorted(study.data.evaluation_sets(), key=lambda on: on.name != "Cityscapes")
    named = {item.spec.run_id: item for item in reversed(planned)}
    runs = [(f"{p.name}, seed {p.spec.seed} ({key})", study.store.run(key)) for key, p in named.items()][::-1]
    runs = [(name, run) for name, run in runs if all(run.evaluation_result(on.name, on.identity()) for on in sets)]
    if not runs:
        raise FileNotFoundError(f"{study.store.root}: no run of this experiment has predictions; train them first")
    first = ipywidgets.Dropdown(options=runs, description="run", **NAMED)
    second = ipywidgets.Dropdown(options=[("none", None), *runs], description="beside it", **NAMED)
    second.index = len(runs) if len(runs) > 1 else 0
    chosen = ipywidgets.Dropdown(options=[(on.name, on) for on in sets], description="evaluated on", **NAMED)
    place = ipywidgets.BoundedIntText(1, min=1, description="image (1: worst)", **NAMED)
    score = ipywidgets.FloatSlider(SURE, min=0, max=1, step=0.01, description="score from", **NAMED)
    images = lru_cache(lambda on: cityscapes.read_images(on.root, on.split).set_index("image_id"))
    ranked = lru_cache(lambda run, on: by_image(match.read_records(run.evaluation(on.name) / "records.npz")))

    @lru_cache(maxsize=8)
    def load(run, on, image_id: str) -> tuple:
        image, instance_ids = read(images(on).loc[image_id])
        path = run.evaluation(on.name) / "predictions.parquet"
        (detections,) = predictions.read_predictions(path, image_ids={image_id})
        return image, instance_ids, compared(instance_ids, detections, on.min_area_px)

    def draw() -> str:
        worst, on = ranked(first.value, chosen.value), chosen.value
        place.max = len(worst)
        image_id, count = worst.index[place.value - 1], worst.iloc[place.value - 1]
        text = f"image {place.value} of {len(worst)} on {on.name}, {count:.0f} errors of the first run (score ≥ {SURE})"
        columns = [(image_id, text, [jpeg(fit(load(first.value, on, image_id)[0], SHOWN_PX // 2))])]
        for run in (run for run in (first, second) if run.value):
            columns.append((run.label, *prediction_panels(*load(run.value, on, image_id), score.value)))
        return HTML.explorer(columns, CLASS_COLORS | {"missed or false": WRONG}, score.value, INEXACT)

    return Explorer([first, second, chosen, place, score], draw)


@dataclass
class Tooltips:
    """A figure whose marks say what they are when the mouse is on them; the figure alone where HTML is not trusted.

    ``figure.tooltips``: line of marks -> text of each mark, the title of a box that nobody sees over the picture.
    """

    figure: Figure

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        file, size, marks = io.BytesIO(), self.figure.bbox.size, []
        self.figure.savefig(file, dpi=200)
        for line, texts in self.figure.tooltips.items():
            marks += zip(100 * line.get_transform().transform(line.get_xydata()) / size, texts, strict=True)
        png = base64.b64encode(file.getvalue()).decode()
        shown = HTML.figure(self.figure.name, "png", png, size.round().astype(int), marks)
        return {"text/html": shown, "image/png": png, "text/plain": f"({self.figure.name})"}


def prediction_panels(image: np.ndarray, ids: np.ndarray, tables: tuple, score: float) -> tuple[str, list[tuple]]:
    """How right detections with a ``score`` are, and pictures of truth and of them; ``tables``: of :func:`compared`."""
    truths, found, detected = tables
    found = found[found["score"] >= score]
    is_found = truths.index.isin(found["truth"][found["kind"] == "right"])
    truths = truths.assign(kind=np.select([is_found, truths["evaluated"]], ["found", MISSED], "not counted"))
    text = HTML.judged(truths["kind"].tolist(), found["kind"].tolist(), FALSE)
    return text, [panel(image, ids, truths[~truths["crowd"]]), panel(image, detected, found)]


def panel(image: np.ndarray, ids: np.ndarray, rows: pd.DataFrame) -> tuple:
    """The instances ``rows`` of the map ``ids`` over the image, with what they are; yellow: missed and false ones."""
    wrong = rows["instance_id"][rows["kind"].isin([MISSED, *FALSE])]
    picture = painted(*(fit(part, SHOWN_PX // 2) for part in (image, ids)), rows["instance_id"], wrong)
    return *jpeg(picture), ids.shape, rows.sort_values("area_px", ascending=False)  # small ones on top of others


def painted(image: np.ndarray, ids: np.ndarray, chosen: Sequence[int], wrong: Sequence[int] = ()) -> np.ndarray:
    """The image with instances ``chosen`` of ``ids`` in class colours; ``wrong`` ones outlined in yellow, not white."""
    ids = np.where(np.isin(ids, chosen), ids, 0)
    colors = np.array([*CLASS_COLORS.values()])[CATEGORY_OF_LABEL[label_of_instance(ids)]]
    picture = paint(image, colors, ids)
    edge = outline(ids) & np.isin(ids, wrong)
    picture[cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = WRONG
    return picture


def jpeg(image: np.ndarray) -> tuple:
    """A picture for the template; JPEG is quick: a slider waits for it."""
    file = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1]
    return "jpeg", base64.b64encode(file).decode(), image.shape[1::-1]
