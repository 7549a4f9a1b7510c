"""Explorers for JupyterLab, and a figure whose marks say which runs they are; HTML where no kernel answers.

Images are uint8 (H, W, 3) RGB arrays, instance ids integer arrays (H, W).
"""

import base64
import io
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import ipywidgets
import numpy as np
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from scapes import cityscapes
from scapes.ap import DUPLICATE, FALSE_POSITIVE, TRUE_POSITIVE, outcomes
from scapes.labels import CATEGORY_OF_LABEL, CLASSES, INSTANCE_BASE, LABEL_IDS, label_of_instance
from scapes.match import Records, match_image
from scapes.predictions import Detections, read_predictions
from synlib.curation.prune import removed_from
from synlib.report.figures import read, training_image
from synlib.report.pictures import fit, outline, paint
from synlib.report.style import CLASS_COLORS
from synlib.study.data import StudyData
from synlib.study.plan import Planned
from synlib.study.study import Study

IMAGES = 40  # of a data set that a chooser offers
SHOWN_PX = 960  # width of a picture; larger images are reduced to it and smaller ones magnified
WRONG = (255, 225, 0)  # yellow: none of the classes' colours is near it
MARK = "left: {:.2%}; bottom: {:.2%}; transform: translate(-50%, 50%); padding: .5em"  # place of a mark's box
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
        counts = [np.bincount(rows["category"], minlength=len(CLASSES)) for rows in (kept, there)]
        by_class = ", ".join(f"{name} {left} of {all_}" for name, left, all_ in zip(CLASSES, *counts, strict=True))
        said = f"{chooser.value}: {len(kept)} of {len(there)} instances are left: {by_class}."
        return picture_html(painted(*scene(chooser.value), kept["instance_id"]), said)

    return Explorer([chooser, common, *sliders], draw)


def prediction_browser(study: Study, planned: Sequence[Planned]) -> Explorer:
    """:func:`prediction_panels` of the runs with predictions on all evaluation sets; FileNotFoundError without any."""
    sets = study.data.evaluation_sets()
    runs, rows = {}, {}
    for item in planned:
        run = study.store.run(item.spec)
        if all(run.evaluation_result(on.name, on.identity()) for on in sets):  # a run of several names is offered once
            runs.setdefault(item.spec.run_id, (f"{item.name}, seed {item.spec.seed} ({item.spec.run_id})", run))
    if not runs:
        raise FileNotFoundError(f"{study.store.root}: no run of this experiment has predictions; train them first")
    for on in sets[::-1]:
        table = cityscapes.read_images(on.root, on.split)
        some = table.iloc[:: -(-len(table) // IMAGES)]
        rows |= {f"{on.name}: {row['image_id']}": (on, row) for _, row in some.iterrows()}
    chooser = ipywidgets.Dropdown(options=list(runs.values()), description="run", **NAMED)
    image = ipywidgets.Dropdown(options=list(rows), description="image", **NAMED)
    threshold = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01, description="score from", **NAMED)

    @lru_cache(maxsize=8)
    def load(run, name: str) -> tuple:
        on, row = rows[name]
        path, (picture, instance_ids) = run.evaluation(on.name) / "predictions.parquet", read(row)
        (detections,) = read_predictions(path, image_ids={row["image_id"]})
        return picture, instance_ids, detections, match_image(instance_ids, detections, min_area_px=on.min_area_px)

    def draw() -> str:
        picture, text = prediction_panels(*load(chooser.value, image.value), threshold.value)
        caption = "Image, ground truth, detections; outlined in yellow: missed instances, false detections."
        return picture_html(picture, f"{chooser.label}, evaluated on {image.value}. {caption} {text}.")

    return Explorer([chooser, image, threshold], draw)


class Tooltips:
    """A figure whose marks say what they are when the mouse is on them; the figure alone where HTML is not trusted.

    ``figure.tooltips``: line of marks -> text of each mark, the title of a box that nobody sees over the picture.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        file, size, boxes = io.BytesIO(), self.figure.bbox.size, []
        self.figure.savefig(file, dpi=200)
        for line, texts in self.figure.tooltips.items():
            places = line.get_transform().transform(line.get_xydata()) / size
            boxes += [(text, MARK.format(*place)) for place, text in zip(places, texts, strict=True)]
        png = base64.b64encode(file.getvalue()).decode()
        shown = HTML.picture("png", png, size.round().astype(int), self.figure.name, boxes)
        return {"text/html": shown, "image/png": png, "text/plain": f"({self.figure.name})"}


def painted(image: np.ndarray, ids: np.ndarray, chosen: Sequence[int], wrong: Sequence[int] = ()) -> np.ndarray:
    """The image with instances ``chosen`` of ``ids`` in class colours; ``wrong`` ones outlined in yellow, not white."""
    ids = np.where(np.isin(ids, chosen), ids, 0)
    colors = np.array([*CLASS_COLORS.values()])[CATEGORY_OF_LABEL[label_of_instance(ids)]]
    picture = paint(image, colors, ids)
    edge = outline(ids) & np.isin(ids, wrong)
    picture[cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = WRONG
    return picture


def prediction_panels(
    image: np.ndarray, instance_ids: np.ndarray, detections: Detections, match: Records, score: float
) -> tuple[np.ndarray, str]:
    """Image, ground truth and the detections of at least ``score`` side by side, and how many are right.

    ``match``: of all ``detections`` with ``instance_ids``. Yellow: missed at overlap 0.5, and false detections.
    """
    truths, predictions = match.truths, match.predictions
    sure = predictions["score"] >= score
    outcome = outcomes(match)[:, 0]  # of each, whatever less sure ones there are
    false = sure & np.isin(outcome, (FALSE_POSITIVE, DUPLICATE))
    missed = truths["evaluated"].copy()
    missed[predictions["truth"][sure & (outcome == TRUE_POSITIVE)]] = False
    # Detections as an instance map, the surest on top; the match has those with a pixel
    ids = np.array(LABEL_IDS)[predictions["category"]] * INSTANCE_BASE + np.arange(len(predictions))
    crops = [crop for crop in zip(detections.boxes, detections.masks, strict=True) if crop[1].any()]
    detected = np.zeros(detections.size, np.int32)
    for k in np.argsort(predictions["score"], kind="stable"):
        (x0, y0, x1, y1), mask = crops[k]
        detected[y0:y1, x0:x1][mask] = ids[k]
    plain, true_ids, detected = (fit(part, SHOWN_PX // 2) for part in (image, instance_ids, detected))
    real = truths["instance_id"][truths["instance_id"] >= INSTANCE_BASE]  # not the groups
    of_truth = painted(plain, true_ids, real, truths["instance_id"][missed])
    of_model = painted(plain, detected, ids[sure], ids[false])
    there = truths["evaluated"].sum()
    text = f"Instances found: {there - missed.sum()} of {there}; "
    text += f"detections with a score of {score:.2f} or more: {sure.sum()}, false ones: {false.sum()}"
    gap = np.full((len(plain), 6, 3), 255, np.uint8)
    return np.concatenate([plain, gap, of_truth, gap, of_model], axis=1), text


def picture_html(image: np.ndarray, caption: str) -> str:
    """A picture with a caption; JPEG is quick: a slider waits for it."""
    jpeg = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1]
    return HTML.captioned(caption, "jpeg", base64.b64encode(jpeg).decode(), image.shape[1::-1])
