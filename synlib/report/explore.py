"""What the explorers of :mod:`synlib.report.widgets` show: arrays and DataFrames in, pictures and HTML out.

Shapes: an image of H x W pixels, shown at h x w; n instances.
"""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from scapes.ap import DUPLICATE, FALSE_POSITIVE, TRUE_POSITIVE, decide
from scapes.labels import CLASSES, COLORS, INSTANCE_BASE
from scapes.match import match_image
from scapes.predictions import Detections, images_by_row_group, read_predictions
from synlib.curation.mix import Composition
from synlib.report.pictures import outline, overlay
from synlib.report.style import DOMAIN_COLORS

SHOWN_PX = 960
"""Width of a picture; larger images are reduced to it and smaller ones magnified."""
WRONG = (255, 225, 0)
"""Yellow: none of the classes' colours is near it."""
_QUICK = (
    cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
)  # fmt: skip
_SMALL = (cv2.IMWRITE_PNG_COMPRESSION, 9)
_PALETTE = np.array([COLORS[name] for name in CLASSES], np.uint8)


@dataclass(frozen=True, eq=False)
class RemovalScene:
    """An image whose instances can be hidden one by one.

    Attributes:
        plain, painted: uint8 ``(h, w, 3)`` RGB, without and with every instance painted in its class's colour.
        index: uint16 ``(h, w)``, 0 where there is no instance, otherwise 1 + its number.
        category: ``(n,)``, index into :data:`scapes.labels.CLASSES`.
        removed_from: float64 ``(n,)``, fraction of its class at which an instance goes
            (:func:`synlib.curation.prune.removed_from`).
    """

    plain: np.ndarray
    painted: np.ndarray
    index: np.ndarray
    category: np.ndarray
    removed_from: np.ndarray

    def kept(self, fractions: np.ndarray) -> np.ndarray:
        """Which instances stay, bool ``(n,)``, when these fractions, float ``(8,)``, of the classes are removed."""
        return self.removed_from > fractions[self.category]

    def picture(self, fractions: np.ndarray) -> np.ndarray:
        """The image with the instances that stay, uint8 ``(h, w, 3)`` RGB."""
        shown = np.concatenate([[0], 255 * self.kept(fractions)]).astype(np.uint8)
        return cv2.copyTo(self.painted, shown[self.index], self.plain.copy())

    def counts(self, fractions: np.ndarray) -> np.ndarray:
        """Instances of each class that stay, and that there are: int ``(8, 2)``."""
        kept = np.bincount(self.category[self.kept(fractions)], minlength=len(CLASSES))
        return np.stack([kept, np.bincount(self.category, minlength=len(CLASSES))], axis=1)


def removal_scene(
    image: np.ndarray, instance_ids: np.ndarray, instances: pd.DataFrame, width: int = SHOWN_PX
) -> RemovalScene:
    """The scene of one image, shown ``width`` px wide.

    ``image`` uint8 (H, W, 3) RGB, ``instance_ids`` (H, W) in the Cityscapes encoding, ``instances``: the image's rows
    of the instance table with the column ``removed_from``. Groups are no instances and not painted.
    """
    rows = instances[~instances["crowd"]].sort_values("instance_id")
    category = rows["category"].to_numpy(int)
    index = fit(_numbered(instance_ids, rows["instance_id"].to_numpy()), width)
    plain = fit(image, width)
    return RemovalScene(plain, _painted(plain, index, category), index, category, rows["removed_from"].to_numpy())


def prediction_panels(
    image: np.ndarray,
    instance_ids: np.ndarray,
    detections: Detections,
    score: float,
    min_area_px: int,
    width: int = SHOWN_PX // 2,
) -> tuple[np.ndarray, str]:
    """Image, ground truth and the detections of at least ``score`` side by side, uint8 RGB, and what they amount to.

    Outlined in yellow: ground truth that no detection matches at overlap 0.5, and false detections.
    """
    detections = at_least(detections, score)
    match = match_image(instance_ids, detections, min_area_px=min_area_px)
    truths, predictions = match.truths, match.predictions
    true, false = judge(predictions, truths)
    missed = truths["evaluated"].copy()
    missed[predictions["truth"][true]] = False
    single = truths["instance_id"] >= INSTANCE_BASE

    plain = fit(image, width)
    true_index = fit(_numbered(instance_ids, truths["instance_id"][single]), width)
    panels = [
        plain,
        _painted(plain, true_index, truths["category"][single].astype(int), missed[single]),
        _painted(plain, fit(_stacked(detections), width), detections.category.astype(int), false),
    ]
    gap = np.full((len(plain), 6, 3), 255, np.uint8)
    text = (
        f"Instances found: {true.sum()} of {truths['evaluated'].sum()}; "
        f"detections with a score of {score:.2f} or more: {len(predictions)}, false ones: {false.sum()}"
    )
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1), text


def judge(predictions: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are true and which false at overlap 0.5, bool (N,) each; the others are ignored.

    ``predictions``, ``truths``: as in :class:`scapes.match.ImageMatch`.
    """
    outcome = decide(predictions, truths, predictions["truth"])[:, 0]  # the first overlap is 0.5
    return outcome == TRUE_POSITIVE, (outcome == FALSE_POSITIVE) | (outcome == DUPLICATE)


def at_least(detections: Detections, score: float) -> Detections:
    """The detections that have a pixel and at least this score, best last, so that they are painted on top."""
    order = np.argsort(detections.score, kind="stable")
    order = np.array([i for i in order if detections.score[i] >= score and detections.masks[i].any()], int)
    return Detections(
        detections.image_id, detections.size, detections.category[order], detections.score[order],
        detections.boxes[order], [detections.masks[i] for i in order],
    )  # fmt: skip


def read_detections(path: str | Path, image_id: str) -> Detections:
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


def picture_html(image: np.ndarray, caption: str) -> str:
    """A picture, uint8 RGB, with a caption, as HTML that needs nothing else."""
    data = base64.b64encode(png_of(image, _SMALL)).decode()
    return (
        f'<figure style="margin:0"><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def png_of(image: np.ndarray, options: Sequence[int] = _QUICK) -> bytes:
    """uint8 RGB as PNG; quickly rather than small, as a slider waits for it."""
    return cv2.imencode(".png", image[..., ::-1], options)[1].tobytes()


def fit(image: np.ndarray, width: int) -> np.ndarray:
    """An image or map at ``width`` px: maps and magnified images keep their pixels, reduced images are averaged."""
    height = round(image.shape[0] * width / image.shape[1])
    average = image.ndim == 3 and width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if average else cv2.INTER_NEAREST)


def _numbered(instance_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """uint16 (H, W): 1 + the place in ``ids`` of each pixel's instance id, 0 for others."""
    table = np.zeros(2**16, np.uint16)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[instance_ids]


def _stacked(detections: Detections) -> np.ndarray:
    """uint16 (H, W): 1 + the number of the last detection that covers a pixel, 0 for none."""
    index = np.zeros(detections.size, np.uint16)
    for number, (mask, (x0, y0, x1, y1)) in enumerate(zip(detections.masks, detections.boxes, strict=True), 1):
        index[y0:y1, x0:x1][mask] = number
    return index


def _painted(
    image: np.ndarray, index: np.ndarray, category: np.ndarray, wrong: Sequence[bool] | np.ndarray = ()
) -> np.ndarray:
    colors = np.concatenate([np.zeros((1, 3), np.uint8), _PALETTE[category]])
    painted = overlay(image, colors[index], index > 0, ids=index)
    if len(wrong):
        edge = outline(index) & np.concatenate([[False], wrong])[index]
        painted[cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = WRONG
    return painted
