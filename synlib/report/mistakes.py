"""What is wrong with the predictions of a run: missed instances and false detections, by image and by class."""

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from scapes import ap, cityscapes, match, png, predictions
from scapes.instances import image_instances
from scapes.labels import CLASSES, INSTANCE_BASE, LABEL_IDS
from synlib.report.tables import shown
from synlib.runs.store import HOME
from synlib.study.study import Study

SURE = 0.5  # the score from which detections count
MISSED, FALSE = "missed", ("wrong class", "inexact", "background", "duplicate")  # kinds of false detections
INEXACT = 0.1  # the overlap from which a detection is an inexact one of an instance of its class


def by_image(records: match.Records) -> pd.Series:
    """Missed instances and false detections with a score from :data:`SURE` on, by image id; the most come first."""
    change = np.array([0, 1, 1, -1])[ap.outcomes(records)[:, 0]]  # ignored, false, duplicate; right: one missed less
    weights = records.truths["evaluated"], change * (records.predictions["score"] >= SURE)
    counts = [np.bincount(*pair, len(records.image_id)) for pair in zip(records.images, weights, strict=True)]
    return pd.Series(sum(counts), records.image_id).sort_values(ascending=False, kind="stable")


def confusion(study: Study, run: str, on: str = HOME) -> Styler:
    """Detections of a ``run`` with a score from :data:`SURE` on, by what they are on (rows) and their class (columns).

    Rows: the class of the instance that is overlapped by more than 0.5, else the kind of false detection. The column
    "missed" counts evaluated instances that no detection of their class has found. Ignored detections are left out.
    """
    evaluated = study.data.evaluation_set(on)
    paths = cityscapes.read_images(evaluated.root, evaluated.split).set_index("image_id")["instance_path"]
    path, pairs = study.store.run(run).evaluation(on) / "predictions.parquet", []
    for detections in predictions.read_predictions(path):
        ids = png.read(paths[detections.image_id], "gray 16")
        truths, found, _ = compared(ids, detections, evaluated.min_area_px)
        found = found[(found["score"] >= SURE) & (found["kind"] != "ignored")]
        on_class = found["kind"].isin(["right", FALSE[0]])
        pairs.append(found.assign(row=found["on"].where(on_class, found["kind"]), column=found["category"]))
        missed = truths[truths["evaluated"] & ~truths.index.isin(found["truth"][found["kind"] == "right"])]
        pairs.append(missed.assign(row=missed["category"], column=MISSED))
    pairs = pd.concat(pairs)[["row", "column"]].replace(dict(enumerate(CLASSES)))
    table = pd.crosstab(pairs["row"], pairs["column"], rownames=["on"], colnames=["detected as"])
    return shown(table.reindex(index=[*CLASSES, *FALSE[1:]], columns=[*CLASSES, MISSED], fill_value=0), "confusion")


def compared(instance_ids: np.ndarray, detections: predictions.Detections, min_area_px: int) -> tuple:
    """The instances of an image and its detections with a pixel, compared at overlap 0.5: a table of each, and a map.

    Columns of both: ``instance_id``, ``category``, ``area_px``, ``x0``, ``y0``, ``x1``, ``y1``. Of instances:
    ``evaluated``, ``crowd``. Of detections: ``score``, ``truth``, ``kind`` (right, ignored or one of :data:`FALSE`),
    ``on``, the category of the instance or group that it overlaps best. The map, int32 (H, W), has the instance ids of
    the detections, the surest on top.
    """
    records = match.match_image(instance_ids, detections, min_area_px=min_area_px)
    instances = image_instances(instance_ids)
    truths = pd.DataFrame(instances).assign(evaluated=records.truths["evaluated"])
    crops = [(*box, mask) for box, mask in zip(detections.boxes, detections.masks, strict=True) if mask.any()]
    found = pd.DataFrame(records.predictions).join(pd.DataFrame(crops, columns=["x0", "y0", "x1", "y1", "mask"]))
    found["instance_id"] = np.array(LABEL_IDS)[found["category"]] * INSTANCE_BASE + found.index
    detected = np.zeros(instance_ids.shape, np.int32)
    for row in found.sort_values("score", kind="stable").itertuples():
        detected[row.y0 : row.y1, row.x0 : row.x1][row.mask] = row.instance_id
    # IoU with each instance and group, whatever its class, (N, K + 1); column 0 stands for none
    pixels = match.shared_pixels(instance_ids, detections, instances)
    pixels = pixels[pixels.any(1)]
    shared, areas = pixels[:, :-2], pixels.sum(1, keepdims=True)
    iou = np.pad(shared / (instances["area_px"] + areas - shared), ((0, 0), (1, 0)))
    found["on"] = np.append(-1, instances["category"])[iou.argmax(1)]
    false = np.select([iou.max(1) > match.OVERLAPS[0], found["iou"] >= INEXACT], FALSE[:2], FALSE[2])
    outcome = ap.outcomes(records)[:, 0]  # of no detection does it depend on less sure ones
    found["kind"] = np.where(outcome == ap.FALSE_POSITIVE, false, np.array(["ignored", "", FALSE[3], "right"])[outcome])
    return truths, found, detected
