"""Detections in the format of the Cityscapes test server, and the check that the server's own reader accepts them.

A ZIP file with one text per image, ``CITY_SEQ_FRAME.txt``, and one PNG per detection, an 8-bit frame that is zero
outside the mask. The text has one line per detection: ``masks/CITY_SEQ_FRAME_N.png LABEL_ID SCORE``.

Source: the comments of ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``.
"""

import contextlib
import copy
import io
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as evaluator
from tqdm.auto import tqdm

from scapes import png
from scapes.ap import check_images
from scapes.files import replacing
from scapes.labels import CLASSES, LABEL_IDS
from scapes.predictions import Detections

SERVER = (1525, 1024, 2048)  # images of Cityscapes' test split, their height and width in px
_IMAGE_ID = re.compile(r"[^_/\\ ]+_\d{6}_\d{6}")
_FAST = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]  # small and quick for masks


def write_submission(
    detections: Iterable[Detections], out_zip: str | Path, *, expected_images: Iterable[str], size: tuple[int, int]
) -> None:
    """Write the ZIP file as the detections come.

    ``expected_images``: the ids of all images of the test split. ``size``: ``(H, W)`` of all. Says so if they are not
    the :data:`SERVER`'s. Raises ValueError, and leaves no file, if an image comes twice, is missing or not expected,
    has another size, or an id that is not ``CITY_SEQ_FRAME``.
    """
    expected, written = list(expected_images), []
    if (len(expected), *size) != SERVER:
        found = f"found (images, height, width) {(len(expected), *size)}"
        tqdm.write(f"{out_zip}: not for the server: {found}, expected {SERVER}", file=sys.stderr)
    bar = tqdm(detections, total=len(expected), desc="writing submission", unit="image", delay=1)
    with replacing(out_zip) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for item in bar:
            if not _IMAGE_ID.fullmatch(item.image_id):
                raise ValueError(f"image {item.image_id}: expected an id CITY_SEQ_FRAME such as berlin_000000_000019")
            if item.size != tuple(size):
                raise ValueError(f"image {item.image_id}: found masks of {item.size} pixels, expected {tuple(size)}")
            written.append(item.image_id)
            if written.count(item.image_id) == 1:
                _write_image(archive, item)
        check_images(written, expected)


def check_submission(path: str | Path, *, expected_images: Iterable[str], size: tuple[int, int]) -> pd.DataFrame:
    """Count the detections: one row per image, indexed by ``image_id``, with one column per class.

    Raises ValueError naming the image and what its text or masks have that the server would refuse.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: {error}") from error
        args, rows = arguments(folder), {}
        for image_id in tqdm(sorted(expected_images), desc="checking", unit="image", delay=1):
            where = f"{path}, image {image_id}"
            infos = _read_officially(image_id, args, where)
            for mask, info in infos.items():
                if info["labelID"] not in LABEL_IDS or not np.isfinite(info["conf"]):
                    raise ValueError(f"{where}: found {info}, expected a label id of {LABEL_IDS} and a finite score")
                if not Path(mask).is_file():
                    raise ValueError(f"{where}: found no file {Path(mask).name}, which the text names")
                if (found := png.read_ends(mask)[0][:2]) != tuple(size):
                    raise ValueError(f"{where}: found {Path(mask).name} of {found}, expected {tuple(size)}")
            labels = [info["labelID"] for info in infos.values()]
            rows[image_id] = [labels.count(label_id) for label_id in LABEL_IDS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(CLASSES), dtype=int).rename_axis("image_id")


def arguments(folder: str | Path) -> object:
    """A copy of the evaluator's global ``args`` that looks for predictions in ``folder`` and writes nothing."""
    args = copy.copy(evaluator.args)
    args.quiet, args.JSONOutput, args.gtInstancesFile = True, False, ""
    args.predictionPath, args.predictionWalk = str(Path(folder).resolve()), None
    return args


def _write_image(archive: zipfile.ZipFile, item: Detections) -> None:
    lines = []
    for index, (category, score) in enumerate(zip(item.category, item.score, strict=True)):
        if item.masks[index].any():  # the evaluator skips empty masks
            name = f"masks/{item.image_id}_{index:03d}.png"
            archive.writestr(name, cv2.imencode(".png", item.full_mask(index) * np.uint8(255), _FAST)[1])
            lines.append(f"{name} {LABEL_IDS[category]} {float(score)!r}\n")
    archive.writestr(f"{item.image_id}.txt", "".join(lines))


def _read_officially(image_id: str, args: object, where: str) -> dict:
    """The evaluator's own dictionary of an image's detections; it exits on errors, which become ValueError here."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            text = evaluator.getPrediction(f"{image_id}_gtFine_instanceIds.png", args)
            return evaluator.readPredInfo(text, args)
    except SystemExit:
        raise ValueError(f"{where}: the official reader says {said.getvalue().strip()!r}") from None
