"""Explorers for JupyterLab: sliders and choosers, and a figure whose marks say which runs they are.

Each also carries what it shows first as plain HTML, for wherever no kernel answers: papermill's copies and the report.
"""

import base64
import dataclasses
import html
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scapes.ap import DUPLICATE, FALSE_POSITIVE, TRUE_POSITIVE, outcomes
from scapes.labels import CLASSES, COLORS, LABEL_IDS, label_of_instance
from scapes.match import match_image
from scapes.predictions import Detections, images_by_row_group, read_predictions
from synlib.curation.mix import Composition, composition_for_budget, composition_for_ratio
from synlib.curation.prune import removed_from
from synlib.report.examples import read
from synlib.report.pictures import color_classes, fit, outline, paint
from synlib.report.style import DOMAIN_COLORS
from synlib.study.data import StudyData
from synlib.study.plan import Planned
from synlib.study.study import Study

IMAGES = 40
"""Images that a chooser offers."""
SHOWN_PX = 960
"""Width of a picture; larger images are reduced to it and smaller ones magnified."""
WRONG = (255, 225, 0)
"""Yellow: none of the classes' colours is near it."""
NAMED = {"style": {"description_width": "8em"}, "layout": {"width": "32em"}}
SVG = "http://www.w3.org/2000/svg"


class Explorer(ipywidgets.VBox):
    """Widgets, and HTML that says the same without a kernel."""

    def __init__(self, children: Sequence[ipywidgets.Widget], still: Callable[[], str]) -> None:
        super().__init__(children)
        self.still = still

    def _repr_mimebundle_(self, **options) -> dict:
        return super()._repr_mimebundle_(**options) | {"text/html": self.still(), "text/plain": "(an explorer)"}


def removal_explorer(data: StudyData) -> Explorer:
    """Figure 3 to play with: an image's instances vanish as thresholds move, smallest of each class first.

    Thresholds are in percent of a class's instances in the whole training split, as in the study. Offers the images
    with most classes and instances.
    """
    images = data.images("synthetic", "train").set_index("image_id")
    instances = data.instances("synthetic", "train")
    instances = instances.assign(removed_from=removed_from(instances))[~instances["crowd"]]
    richest = instances.groupby("image_id")["category"].agg(["nunique", "size"])
    richest = richest.sort_values(["nunique", "size"], ascending=False, kind="stable").index[:IMAGES].tolist()

    chooser = ipywidgets.Dropdown(options=richest, description="image", **NAMED)
    common = ipywidgets.IntSlider(0, 0, 100, description="all classes (%)", **NAMED)
    sliders = [ipywidgets.IntSlider(0, 0, 100, description=f"{name} (%)", **NAMED) for name in CLASSES]
    labels = [ipywidgets.Label() for _ in CLASSES]
    for slider, name in zip(sliders, CLASSES, strict=True):
        slider.style.handle_color = "#{:02x}{:02x}{:02x}".format(*COLORS[name])
    picture = ipywidgets.Image(format="jpeg", layout={"width": "100%", "max_width": f"{SHOWN_PX}px"})
    scene = lru_cache(maxsize=8)(lambda image_id: [fit(part, SHOWN_PX) for part in read(images.loc[image_id])])

    def counts() -> tuple[pd.DataFrame, pd.DataFrame]:
        """The image's instances, and those that are kept."""
        there = instances[instances["image_id"] == chooser.value]
        removed = np.array([slider.value for slider in sliders]) / 100
        return there, there[there["removed_from"] > removed[there["category"]]]

    def draw(_=None) -> None:
        there, kept = counts()
        picture.value = jpeg_of(removal_picture(*scene(chooser.value), kept["instance_id"].to_numpy()))
        for number, label in enumerate(labels):
            label.value = f"{(kept['category'] == number).sum()} of {(there['category'] == number).sum()} here"

    def move_all(change) -> None:
        for slider in sliders:
            slider.unobserve(draw, "value")
            slider.value = change["new"]
            slider.observe(draw, "value")
        draw()

    def still() -> str:
        there, kept = counts()
        left = f"{len(kept)} of {len(there)} instances are left"
        return picture_html(picture.value, f"{chooser.value}: {left}. In JupyterLab, sliders remove more.")

    common.observe(move_all, "value")
    for widget in (chooser, *sliders):
        widget.observe(draw, "value")
    draw()
    rows = [ipywidgets.HBox(pair) for pair in zip(sliders, labels, strict=True)]
    columns = {"grid_template_columns": "repeat(auto-fill, 38em)"}
    return Explorer([chooser, picture, common, ipywidgets.GridBox(rows, layout=columns)], still)


def mixing_explorer(study: Study) -> Explorer:
    """Which training set a share of real images means (Figure 5), and which one a budget (the rule below Table 3)."""
    profile = study.profile
    available = Composition(*(len(study.data.images(domain, "train")) for domain in ("real", "synthetic")))
    batch, iterations = profile.batch_size, profile.schedule.iterations
    epochs = ipywidgets.IntSlider(round(profile.grids.mixed_epochs), 1, 200, description="epochs", **NAMED)
    share = ipywidgets.IntSlider(50, 0, 100, description="real images (%)", **NAMED)
    enough = sum(available) * epochs.value // batch  # iterations to see all images that often
    budget = ipywidgets.IntSlider(max(1, enough // 2), 1, 2 * enough + 1, description="iterations", **NAMED)
    by_share, by_budget = ipywidgets.HTML(), ipywidgets.HTML()

    def draw(_=None) -> None:
        composition = composition_for_ratio(profile.baseline_images, share.value / 100)
        by_share.value = composition_html(composition, available, batch, iterations)
        composition = composition_for_budget(
            budget.value, batch_size=batch, epochs=epochs.value, real=available.real, synthetic=available.synthetic
        )
        by_budget.value = composition_html(composition, available, batch, budget.value)

    def widen(_) -> None:
        budget.max = 2 * (sum(available) * epochs.value // batch) + 1

    epochs.observe(widen, "value")
    for slider in (share, epochs, budget):
        slider.observe(draw, "value")
    draw()
    titles = ("<b>A share of real images</b> (Figure 5)", "<b>A budget</b> (the rule below Table 3)")
    first, second = (ipywidgets.HTML(title) for title in titles)
    return Explorer(
        [first, share, by_share, second, budget, epochs, by_budget],
        lambda: (
            f"<p>{titles[0]}: {share.value} % of {profile.baseline_images:,} images</p>{by_share.value}"
            f"<p>{titles[1]}: {budget.value:,} iterations, every image {epochs.value} times</p>{by_budget.value}"
        ),
    )


def prediction_browser(study: Study, planned: Sequence[Planned], score: float = 0.5) -> Explorer:
    """What the runs of an experiment predict: image, ground truth and detections from a score on, side by side.

    Offers the runs that have predictions on all evaluation sets; raises FileNotFoundError if none has.
    """
    sets = {on.name: on for on in study.data.evaluation_sets()}
    items, runs = {}, {}
    for item in planned:
        items.setdefault(item.spec.run_id, item)  # a run of several names is offered once
    for item in items.values():
        run = study.store.run(item.spec)
        if all(run.evaluation_result(on.name, on.identity()) for on in sets.values()):
            runs[f"{item.name}, seed {item.spec.seed} ({item.spec.run_id})"] = run
    if not runs:
        raise FileNotFoundError(f"{study.store.root}: no run of this experiment has predictions; train them first")
    tables = {name: study.data.evaluation_images(on).set_index("image_id") for name, on in sets.items()}

    chooser = ipywidgets.Dropdown(options=runs, description="run", **NAMED)
    evaluated = ipywidgets.Dropdown(options=list(sets)[::-1], description="evaluated on", **NAMED)
    image = ipywidgets.Dropdown(description="image", **NAMED)
    threshold = ipywidgets.FloatSlider(score, min=0, max=1, step=0.01, description="score from", **NAMED)
    picture = ipywidgets.Image(format="jpeg", layout={"width": "100%", "max_width": "1452px"})
    text = ipywidgets.Label()
    caption = "Image, ground truth, detections; outlined in yellow: missed instances, false detections."

    @lru_cache(maxsize=8)
    def load(path: Path, name: str, image_id: str) -> tuple[np.ndarray, np.ndarray, Detections]:
        return *read(tables[name].loc[image_id]), read_detections(path, image_id)

    def draw(_=None) -> None:
        if image.value is None:  # while the images of another evaluation set are filled in
            return
        path = chooser.value.evaluation(evaluated.value) / "predictions.parquet"
        loaded = load(path, evaluated.value, image.value)
        shown, text.value = prediction_panels(*loaded, threshold.value, sets[evaluated.value].min_area_px)
        picture.value = jpeg_of(shown)

    def offer_images(_=None) -> None:
        ids = tables[evaluated.value].index
        image.options = ids[:: -(-len(ids) // IMAGES)].tolist()
        image.index = 0

    def still() -> str:
        shown = f"{chooser.label}, evaluated on {evaluated.value}, {image.value}. {caption} {text.value}."
        return picture_html(picture.value, shown)

    for widget in (chooser, image, threshold):
        widget.observe(draw, "value")
    evaluated.observe(offer_images, "value")
    offer_images()
    return Explorer([chooser, evaluated, image, threshold, picture, text, ipywidgets.Label(caption)], still)


class Tooltips:
    """A figure to display, whose marks say what they are when the mouse is on them.

    ``figure.tooltips``: id of a line of marks (``set_gid``) -> text of each mark. Shown as :func:`svg_with_tooltips`,
    in an ``<object>`` that holds the same picture as PNG for where a notebook is not trusted.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        file = io.BytesIO()
        self.figure.savefig(file, format="png", bbox_inches="tight")
        svg, png = (base64.b64encode(data).decode() for data in (svg_with_tooltips(self.figure), file.getvalue()))
        image = f'<img alt="{self.figure.name}" src="data:image/png;base64,{png}">'
        shown = f'<object type="image/svg+xml" data="data:image/svg+xml;base64,{svg}">{image}</object>'
        return {"text/html": shown, "image/png": png, "text/plain": f"({self.figure.name})"}


def svg_with_tooltips(figure: Figure) -> bytes:
    """The figure as SVG with a ``<title>`` in each mark of ``figure.tooltips``, which browsers show as a tooltip."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", bbox_inches="tight")
    ET.register_namespace("", SVG)
    root = ET.fromstring(file.getvalue())
    groups = {group.get("id"): group for group in root.iter(f"{{{SVG}}}g")}
    for name, texts in figure.tooltips.items():
        for mark, text in zip(groups[name].iter(f"{{{SVG}}}use"), texts, strict=True):
            ET.SubElement(mark, f"{{{SVG}}}title").text = text
    return ET.tostring(root)


def removal_picture(image: np.ndarray, instance_ids: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3) RGB, with the instances ``kept`` (ids) of ``instance_ids`` (H, W) in class colours."""
    ids = np.where(np.isin(instance_ids, kept), instance_ids, 0)
    return paint(image, color_classes(label_of_instance(ids)), ids)


def prediction_panels(
    image: np.ndarray,
    instance_ids: np.ndarray,
    detections: Detections,
    score: float,
    min_area_px: int,
    width: int = SHOWN_PX // 2,
) -> tuple[np.ndarray, str]:
    """Image, ground truth and the detections of at least ``score`` side by side, uint8 RGB, and what they amount to.

    ``width``: of each, in pixels. Outlined in yellow: ground truth that no detection matches at overlap 0.5, and false
    detections.
    """
    detections = at_least(detections, score)
    match = match_image(instance_ids, detections, min_area_px=min_area_px)
    outcome, truths = outcomes([match]).outcome[:, 0], match.truths
    false = (outcome == FALSE_POSITIVE) | (outcome == DUPLICATE)
    found = match.predictions["truth"][outcome == TRUE_POSITIVE]
    missed = truths["evaluated"].copy()
    missed[found] = False

    plain = fit(image, width)
    true_ids = fit(np.where(np.isin(instance_ids, truths["instance_id"]), instance_ids, 0), width)
    true_ids[true_ids < 1000] = 0
    stacked = np.zeros(detections.size, np.int32)  # label id + 256 * (1 + number) of the topmost detection
    for number, (mask, (x0, y0, x1, y1)) in enumerate(zip(detections.masks, detections.boxes, strict=True), 1):
        stacked[y0:y1, x0:x1][mask] = 256 * number + LABEL_IDS[detections.category[number - 1]]
    stacked = fit(stacked, width)
    gap = np.full((len(plain), 6, 3), 255, np.uint8)
    panels = (
        plain,
        gap,
        _outlined(plain, label_of_instance(true_ids), true_ids, truths["instance_id"][missed]),
        gap,
        _outlined(plain, stacked % 256, stacked // 256, 1 + np.flatnonzero(false)),
    )
    text = (
        f"Instances found: {len(found)} of {truths['evaluated'].sum()}; "
        f"detections with a score of {score:.2f} or more: {len(outcome)}, false ones: {false.sum()}"
    )
    return np.concatenate(panels, axis=1), text


def at_least(detections: Detections, score: float) -> Detections:
    """The detections that have a pixel and at least this score, best last, so that they are painted on top."""
    order = np.argsort(detections.score, kind="stable")
    order = np.array([i for i in order if detections.score[i] >= score and detections.masks[i].any()], int)
    fields = {name: getattr(detections, name)[order] for name in ("category", "score", "boxes")}
    return dataclasses.replace(detections, masks=[detections.masks[i] for i in order], **fields)


def read_detections(path: Path, image_id: str) -> Detections:
    """One image's detections, reading only its part of the file; raises KeyError if it is not there."""
    for number, ids in enumerate(images_by_row_group(path)):
        if image_id in ids:
            return next(d for d in read_predictions(path, row_groups=[number]) if d.image_id == image_id)
    raise KeyError(f"{path}: no image {image_id}")


def composition_html(composition: Composition, available: Composition, batch_size: int, iterations: int) -> str:
    """A training set as a bar and in words: images of each domain, and how often ``iterations`` see each of them."""
    total = sum(composition)
    bar, rows = "", ""
    for name, used, there in zip(("Cityscapes", "Synscapes"), composition, available, strict=True):
        bar += f'<div style="width:{100 * used / total:.2f}%;background:{DOMAIN_COLORS[name]}"></div>'
        rows += f"<tr><th>{name}</th><td>{used:,}</td><td>{100 * used / total:.0f} %</td><td>{there:,}</td></tr>"
    return (
        f'<div style="display:flex;height:1.2em;max-width:40em">{bar}</div>'
        '<table style="border-collapse:separate;border-spacing:1em 0;margin-left:-1em">'
        "<thead><tr><th>training set</th><th>images</th><th>share</th><th>there are</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"<p>{iterations:,} iterations of {batch_size} images see each of these {total:,} images"
        f" {iterations * batch_size / total:.1f} times.</p>"
    )


def picture_html(jpeg: bytes, caption: str) -> str:
    """A picture with a caption, as HTML that needs nothing else."""
    data = base64.b64encode(jpeg).decode()
    return (
        f'<figure style="margin:0"><img alt="{html.escape(caption)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def jpeg_of(image: np.ndarray) -> bytes:
    """uint8 RGB as JPEG: quick and small, as a slider waits for it."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1].tobytes()


def _outlined(image: np.ndarray, labels: np.ndarray, ids: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Regions of ``ids`` in the colours of their ``labels``, those in ``wrong`` outlined in yellow."""
    painted = paint(image, color_classes(labels), ids)
    edge = outline(ids) & np.isin(ids, wrong)
    painted[cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = WRONG
    return painted
