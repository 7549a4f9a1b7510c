"""Ground truth and detections in COCO's format, and COCO mask AP as a second metric, so that results compare elsewhere.

Categories carry the Cityscapes label ids 24..33, as in MMDetection's conversion; groups are ``iscrowd``. COCO AP
differs from the Cityscapes one: it knows no void, and evaluates ground truth of any area.

Source of the format and the metric: ``pycocotools`` (``coco.py``, ``cocoeval.py``); https://cocodataset.org/#format-data.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask

from scapes import png
from scapes.bootstrap import MEAN
from scapes.instances import image_instances
from scapes.labels import CLASSES, LABEL_IDS
from scapes.parallel import map_items
from scapes.predictions import Detections


def run_lengths(mask: np.ndarray) -> dict:
    """COCO run-length encoding of a mask over the whole frame, bool ``(H, W)``, fastest column by column in memory."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return rle | {"counts": rle["counts"].decode()}  # bytes would not go into JSON


def coco_truth(images: pd.DataFrame) -> dict:
    """Ground truth as a COCO dictionary, from the image table. Row k gets the image id k + 1.

    ``file_name`` is the end of ``image_path``: ``CITY/..._leftImg8bit.png``.
    """
    names = ["/".join(Path(path).parts[-2:]) for path in images["image_path"]]
    files = images.assign(id=range(1, len(images) + 1), file_name=names)
    found = map_items(_annotate, images["instance_path"].tolist(), description="encoding ground truth")
    annotations = [{"image_id": number} | item for number, of_one in enumerate(found, 1) for item in of_one]
    return {
        "info": {"description": "instances of the eight evaluated Cityscapes classes"},
        "images": files[["id", "file_name", "height", "width"]].to_dict("records"),
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
        for index in np.flatnonzero([mask.any() for mask in item.masks]):
            rle, score = run_lengths(item.full_mask(index)), float(item.score[index])
            place = {"image_id": numbers[item.image_id], "category_id": LABEL_IDS[item.category[index]]}
            results.append(place | {"segmentation": rle, "score": score})
    return results


def coco_ap(truth: dict, predictions: Sequence[dict]) -> pd.DataFrame:
    """COCO mask AP with at most 100 detections per image: one row per metric and class, and one for the mean.

    Columns: class, metric (``ap``, ``ap50``, ``ap75``), value 0..1, NaN for a class without ground truth.
    """
    known = COCO(copy.deepcopy(truth))
    found = known.loadRes(copy.deepcopy(predictions)) if predictions else COCO()
    evaluation = COCOeval_faster(known, found, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # overlap, recall, class; all areas, 100 detections
    by_overlap = np.where(precision < 0, np.nan, precision).mean(axis=1).T
    columns = {"ap": by_overlap.mean(1), "ap50": by_overlap[:, 0], "ap75": by_overlap[:, 5]}
    table = pd.DataFrame(columns, index=pd.Index(CLASSES, name="class"))
    table.loc[MEAN] = table.mean()  # of the classes that are not NaN
    return table.melt(ignore_index=False, var_name="metric").reset_index()


def _annotate(path: str) -> list[dict]:
    """Annotations of one image, still without ids."""
    instance_map = np.asfortranarray(png.read(path, "gray 16"))
    return [
        {
            "category_id": LABEL_IDS[row.category],
            "bbox": [row.x0, row.y0, row.x1 - row.x0, row.y1 - row.y0],
            "area": row.area_px,
            "iscrowd": int(row.crowd),
            "segmentation": run_lengths(instance_map == row.instance_id),
        }
        for row in image_instances(np.ascontiguousarray(instance_map), path).itertuples(index=False)
    ]
