"""Ground truth and detections in COCO's format, and COCO mask AP as a second metric, so that results compare elsewhere.

Categories carry the Cityscapes label ids 24..33, as in MMDetection's conversion; groups are ``iscrowd``. COCO AP
differs from the Cityscapes one: it knows no void, and evaluates ground truth of any area.

Source of the format and the metric: ``pycocotools`` (``coco.py``, ``cocoeval.py``); https://cocodataset.org/#format-data.
"""

import contextlib
import copy
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scapes import png
from scapes.bootstrap import MEAN
from scapes.files import replacing
from scapes.labels import CLASSES, LABEL_IDS
from scapes.parallel import map_items
from scapes.predictions import Detections


def run_lengths(mask: np.ndarray, box: Sequence[int], size: tuple[int, int]) -> dict:
    """COCO run-length encoding, with ``counts`` as str, of a mask inside a box, in a frame of ``size`` ``(H, W)``.

    ``mask``: bool ``(y1 - y0, x1 - x0)``; ``box``: half-open ``x0, y0, x1, y1`` in pixels. Runs go down the columns.
    """
    height, width = size
    x0, y0, x1, y1 = map(int, box)
    # The columns of the box, and where in the whole frame the value changes along them
    columns = np.zeros((x1 - x0, height), bool)
    columns[:, y0:y1] = mask.T
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False)) + x0 * height
    counts = np.diff(changes, prepend=0, append=height * width)
    counts = counts[: len(counts) - (counts[-1] == 0)]  # no run of nothing behind a mask that ends with the frame
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode()}


def coco_truth(images: pd.DataFrame, instances: pd.DataFrame) -> dict:
    """Ground truth of a data set as a COCO dictionary; image k of the image table gets the id k + 1.

    ``images``: image table, of whose ``image_path`` the last two parts become ``file_name``
    (``CITY/..._leftImg8bit.png``). ``instances``: its instance table.
    """
    of_image = dict(list(instances.groupby("image_id")))
    rows = list(images.itertuples(index=False))
    names = ["/".join(Path(row.image_path).parts[-2:]) for row in rows]
    jobs = [(row.instance_path, of_image.get(row.image_id, instances.iloc[:0])) for row in rows]
    found = map_items(_annotate, jobs, description="encoding ground truth")
    annotations = [{"image_id": number} | item for number, of_one in enumerate(found, 1) for item in of_one]
    return {
        "info": {"description": "instances of the eight evaluated Cityscapes classes"},
        "images": [
            {"id": number, "file_name": file, "height": row.height, "width": row.width}
            for number, (row, file) in enumerate(zip(rows, names, strict=True), 1)
        ],
        "categories": [{"id": label_id, "name": name} for label_id, name in zip(LABEL_IDS, CLASSES, strict=True)],
        # Ids start at 1: COCOeval would read 0 as "unmatched"
        "annotations": [{"id": number} | item for number, item in enumerate(annotations, 1)],
    }


def coco_predictions(images: pd.DataFrame, detections: Iterable[Detections]) -> list[dict]:
    """Detections as COCO results with the ids of :func:`coco_truth`. Raises ValueError for images not in the table."""
    numbers = {image_id: number for number, image_id in enumerate(images["image_id"], start=1)}
    results = []
    for item in detections:
        if item.image_id not in numbers:
            raise ValueError(f"image {item.image_id}: found detections, expected an image of the table")
        for category, score, box, mask in zip(item.category, item.score, item.boxes, item.masks, strict=True):
            if mask.any():
                rle = run_lengths(mask, box, item.size)
                place = {"image_id": numbers[item.image_id], "category_id": LABEL_IDS[category]}
                results.append(place | {"segmentation": rle, "score": float(score)})
    return results


def coco_ap(truth: dict, predictions: Sequence[dict]) -> pd.DataFrame:
    """COCO mask AP with at most 100 detections per image: one row per metric and class, and one for the mean.

    Columns: class, metric (``ap``, ``ap50``, ``ap75``), value 0..1, NaN for a class without ground truth.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by printing
        # loadRes() fails without any prediction; this is what it does with some
        results = [
            item | {"id": number, "area": coco_mask.area(item["segmentation"]), "iscrowd": 0}
            for number, item in enumerate(predictions, 1)
        ]
        evaluation = COCOeval(_indexed(truth), _indexed(truth | {"annotations": results}), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # overlap, recall, class; all areas, 100 detections
    by_overlap = np.where(precision < 0, np.nan, precision).mean(axis=1).T
    columns = {"ap": by_overlap.mean(1), "ap50": by_overlap[:, 0], "ap75": by_overlap[:, 5]}
    table = pd.DataFrame(columns, index=pd.Index(CLASSES, name="class"))
    table.loc[MEAN] = table.mean()  # of the classes that are not NaN
    return table.melt(ignore_index=False, var_name="metric").reset_index()


def _indexed(dataset: dict) -> COCO:
    indexed = COCO()
    indexed.dataset = copy.deepcopy(dataset)
    indexed.createIndex()
    return indexed


def write_json(path: str | Path, content: dict | list) -> None:
    """Write a COCO dictionary or list of results."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))


def _annotate(job: tuple[str, pd.DataFrame]) -> list[dict]:
    """Annotations of one image, still without ids."""
    path, rows = job
    instance_map = png.read(path, "gray 16")
    annotations = []
    for row in rows.itertuples(index=False):
        box = (row.x0, row.y0, row.x1, row.y1)
        mask = instance_map[row.y0 : row.y1, row.x0 : row.x1] == row.instance_id
        if np.count_nonzero(mask) != row.area_px:
            raise ValueError(
                f"{path}, instance {row.instance_id}: found {np.count_nonzero(mask)} pixels in its box, expected "
                f"{row.area_px} as in the instance table. Was the table made from these files?"
            )
        annotations.append(
            {
                "category_id": LABEL_IDS[row.category],
                "bbox": [row.x0, row.y0, row.x1 - row.x0, row.y1 - row.y0],
                "area": row.area_px,
                "iscrowd": int(row.crowd),
                "segmentation": run_lengths(mask, box, instance_map.shape),
            }
        )
    return annotations
