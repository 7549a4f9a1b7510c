"""Detections in the formats of the Cityscapes test server and of COCO, and COCO mask AP as a second metric.

A submission is a folder or a ZIP file with one text per image, ``CITY_SEQ_FRAME*.txt``, and one PNG per detection, a
frame that is zero outside the mask. The text has one line per detection: ``masks/CITY_SEQ_FRAME_N.png LABEL_ID SCORE``,
with the path of the PNG from the text. Source: ``getPrediction`` and ``readPredInfo`` of
``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``.

COCO's categories carry the Cityscapes label ids 24..33, as in MMDetection's conversion; groups are ``iscrowd``. COCO AP
differs from the Cityscapes one: it knows no void, and evaluates ground truth of any area. Source of the format and the
metric: ``pycocotools`` (``coco.py``, ``cocoeval.py``); https://cocodataset.org/#format-data.
"""

import copy
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.mask_api_new_cpp import toUncompressedRLE
from pycocotools import mask as coco_mask
from tqdm.auto import tqdm

from scapes import png
from scapes.bootstrap import MEAN
from scapes.cityscapes import image_id_of
from scapes.files import BadFile, read_json, replacing, unique
from scapes.instances import image_instances
from scapes.labels import CLASSES, INSTANCE_LABEL_IDS, LABEL_IDS
from scapes.parallel import map_items
from scapes.predictions import Detections, check_images, from_masks

SERVER = (1525, 1024, 2048)  # images of Cityscapes' test split, their height and width in px
_IMAGE_ID = re.compile(r"[^_/\\ ]+_\d{6}_\d{6}")
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_LINE = re.compile(rf"(?P<png>(?!/|.*\.\.)[^ ]+) (?P<label>[0-9]+)(\.0*)? (?P<score>{_NUMBER})")
_EXPECTED = f"PNG LABEL_ID SCORE: a relative path without '..', one of {LABEL_IDS}, and a finite number"
_ANNOTATIONS = "images with id and file_name, all of the split, and categories with id and name"
_RESULTS = "a list of image_id and category_id, of the annotations, score and full RLE"
_FAST = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]  # small and quick for masks


def write_submission(detections: Iterable[Detections], out_zip: str | Path, images: pd.DataFrame) -> None:
    """Write the ZIP file as the detections come.

    ``images``: all images of the split, with ``image_id``, ``height`` and ``width``. Says so if they are not the
    :data:`SERVER`'s. Raises ValueError, and leaves no file, if an image comes twice, is missing or not expected, has
    another size, or an id that is not ``CITY_SEQ_FRAME``.
    """
    sizes, written = {image.image_id: (image.height, image.width) for image in images.itertuples()}, []
    if (found := (len(sizes), *next(iter(sizes.values())))) != SERVER:
        what = f"found (images, height, width) {found}, expected {SERVER}"
        tqdm.write(f"{out_zip}: not for the server: {what}", file=sys.stderr)
    with replacing(out_zip) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for item in tqdm(detections, total=len(sizes), desc="writing submission", unit="image", delay=1):
            if not _IMAGE_ID.fullmatch(item.image_id):
                raise ValueError(f"image {item.image_id}: expected an id CITY_SEQ_FRAME such as berlin_000000_000019")
            if (size := sizes.get(item.image_id, item.size)) != item.size:
                raise ValueError(f"image {item.image_id}: found masks of {item.size} pixels, expected {size}")
            written.append(item.image_id)
            if written.count(item.image_id) > 1:
                break  # told below
            lines = []
            for index in np.flatnonzero([mask.any() for mask in item.masks]):  # the evaluator skips empty masks
                name = f"masks/{item.image_id}_{index:03d}.png"
                archive.writestr(name, cv2.imencode(".png", item.full_mask(index) * np.uint8(255), _FAST)[1])
                lines.append(f"{name} {LABEL_IDS[item.category[index]]} {float(item.score[index])!r}\n")
            archive.writestr(f"{item.image_id}.txt", "".join(lines))
        check_images(written, sizes)


def read_submission(path: str | Path, images: pd.DataFrame) -> Iterator[Detections]:
    """Yield the detections of each of ``images``, a table as :func:`write_submission` takes it.

    As in the official evaluator, other texts, caravans and trailers are passed over. Raises ``OSError``, or
    ``ValueError`` that names the image, text or mask with something that the server would refuse.
    """
    with tempfile.TemporaryDirectory(prefix=f"{Path(path).name}-") as extracted, ThreadPool() as pool:
        if is_file := not Path(path).is_dir():
            try:
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(extracted)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise BadFile("submission", path, str(error), "a folder or a complete ZIP file") from error
        texts: dict[str, list[Path]] = {}
        for text in Path(extracted if is_file else path).rglob("*.txt"):
            texts.setdefault(image_id_of(text.name), []).append(text)
        # Most of the time goes into decoding PNGs, which threads share
        yield from pool.imap(lambda image: _read_image(path, texts.get(image.image_id, []), image), images.itertuples())


def _read_image(path: str | Path, texts: list[Path], image: Any) -> Detections:
    """The detections of a row of an image table; ``texts``: those of this image, which should be one."""
    image_id, rows = image.image_id, []
    if len(texts) != 1:
        raise ValueError(f"{path}, image {image_id}: found {len(texts)} texts, expected one {image_id}*.txt")
    for line in (text := texts[0]).read_text(errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if not match or int(match["label"]) not in INSTANCE_LABEL_IDS:
            raise ValueError(f"{path}, {text.name}: found {line!r}, expected {_EXPECTED}")
        if int(match["label"]) in LABEL_IDS:
            rows.append((LABEL_IDS.index(int(match["label"])), float(match["score"]), text.parent / match["png"]))
    frames = (png.read(mask, "gray 8", "gray 1", "gray 16") for _, _, mask in rows)
    return from_masks(image_id, (image.height, image.width), [row[0] for row in rows], [row[1] for row in rows], frames)


def read_coco(path: str | Path, images: pd.DataFrame, annotations: str | Path) -> Iterator[Detections]:
    """Yield the detections of each of ``images`` from a JSON file of COCO results; an image may have none.

    ``annotations``: the COCO file that says which file and class an id is. Raises ``OSError`` or ``BadFile``.
    """
    found: dict[str, list[tuple]] = {image_id: [] for image_id in images["image_id"]}

    def parse(content: dict) -> tuple[dict, dict]:
        files = unique([(item["id"], image_id_of(item["file_name"])) for item in content["images"]])
        if missing := found.keys() - files.values():
            raise ValueError(f"no image {min(missing)}")
        return files, unique([(item["id"], item["name"]) for item in content["categories"]])

    files, names = read_json(annotations, "COCO annotations", _ANNOTATIONS, parse)
    results = read_json(path, "COCO results", _RESULTS, list.copy)  # of a list only
    try:
        for item in results:
            image_id, name = files.get(item["image_id"]), names.get(item["category_id"])
            if image_id not in found or name not in CLASSES:
                raise ValueError(f"image_id {item['image_id']!r}, category_id {item['category_id']!r}")
            found[image_id].append((CLASSES.index(name), item["score"], item["segmentation"]))
        for image in images.itertuples():
            category, score, masks = zip(*found[image.image_id], strict=True) if found[image.image_id] else ((), (), ())
            yield from_masks(image.image_id, (image.height, image.width), category, score, map(_decoded, masks))
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise BadFile("COCO results", path, f"{type(error).__name__}: {error}", _RESULTS) from error


def _decoded(rle: dict) -> np.ndarray:
    """bool ``(H, W)`` of run lengths, a list or compressed. (pycocotools does not see that a text is cut off.)"""
    counts = rle["counts"] if isinstance(rle["counts"], list) else toUncompressedRLE([rle])[0]["counts"]
    height, width = rle["size"]
    if sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, of {height} x {width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def run_lengths(mask: np.ndarray) -> dict:
    """COCO run-length encoding of a mask over the whole frame, bool ``(H, W)``, fastest column by column in memory."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return rle | {"counts": rle["counts"].decode()}  # bytes would not go into JSON


def coco_truth(images: pd.DataFrame) -> dict:
    """Ground truth as a COCO dictionary; row k of the images has the id k + 1, and a ``file_name`` with its city."""
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
    """COCO mask AP with at most 100 detections per image, 0..1, NaN for a class without ground truth.

    Rows: the classes, and their mean. Columns: ``ap``, ``ap50``, ``ap75``.
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
    return table


def _annotate(path: str) -> list[dict]:
    """Annotations of one image, still without ids."""
    instance_map = png.read(path, "gray 16")
    by_column, rows = np.asfortranarray(instance_map), pd.DataFrame(image_instances(instance_map, path))
    return [
        {
            "category_id": LABEL_IDS[row.category],
            "bbox": [row.x0, row.y0, row.x1 - row.x0, row.y1 - row.y0],
            "area": row.area_px,
            "iscrowd": int(row.crowd),
            "segmentation": run_lengths(by_column == row.instance_id),
        }
        for row in rows.itertuples(index=False)
    ]
