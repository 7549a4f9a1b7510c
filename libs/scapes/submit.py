"""Detections in the format of the Cityscapes test server, written and read.

A folder or a ZIP file with one text per image, ``CITY_SEQ_FRAME*.txt``, and one PNG per detection, a frame that is zero
outside the mask. The text has one line per detection: ``masks/CITY_SEQ_FRAME_N.png LABEL_ID SCORE``, with the path of
the PNG from the text.

Source: ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``, ``getPrediction`` and ``readPredInfo``.
"""

import collections
import contextlib
import functools
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from scapes import png
from scapes.cityscapes import image_id_of
from scapes.files import BadFile, replacing
from scapes.labels import INSTANCE_LABEL_IDS, LABEL_IDS
from scapes.predictions import Detections, check_images, from_masks

SERVER = (1525, 1024, 2048)  # images of Cityscapes' test split, their height and width in px
_IMAGE_ID = re.compile(r"[^_/\\ ]+_\d{6}_\d{6}")
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_LINE = re.compile(rf"(?P<png>(?!/|.*\.\.)[^ ]+) (?P<label>[0-9]+)(\.0*)? (?P<score>{_NUMBER})")
_EXPECTED = f"PNG LABEL_ID SCORE: a relative path without '..', one of {LABEL_IDS}, and a finite number"
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
    bar = tqdm(detections, total=len(sizes), desc="writing submission", unit="image", delay=1)
    with replacing(out_zip) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for item in bar:
            size = sizes.get(item.image_id, item.size)
            if not _IMAGE_ID.fullmatch(item.image_id):
                raise ValueError(f"image {item.image_id}: expected an id CITY_SEQ_FRAME such as berlin_000000_000019")
            if item.size != size:
                raise ValueError(f"image {item.image_id}: found masks of {item.size} pixels, expected {size}")
            written.append(item.image_id)
            if written.count(item.image_id) == 1:
                _write_image(archive, item)
        check_images(written, sizes)


def _write_image(archive: zipfile.ZipFile, item: Detections) -> None:
    lines = []
    for index, (category, score) in enumerate(zip(item.category, item.score, strict=True)):
        if item.masks[index].any():  # the evaluator skips empty masks
            name = f"masks/{item.image_id}_{index:03d}.png"
            archive.writestr(name, cv2.imencode(".png", item.full_mask(index) * np.uint8(255), _FAST)[1])
            lines.append(f"{name} {LABEL_IDS[category]} {float(score)!r}\n")
    archive.writestr(f"{item.image_id}.txt", "".join(lines))


def read_submission(path: str | Path, images: pd.DataFrame) -> Iterator[Detections]:
    """Yield the detections of each of ``images``, a table as :func:`write_submission` takes it.

    As in the official evaluator, other texts, caravans and trailers are passed over. Raises ``OSError``, or
    ``ValueError`` that names the image, text or mask with something that the server would refuse.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(path)
        if not folder.is_dir():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{folder.name}-")))
            try:
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(folder)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise BadFile("submission", path, str(error), "a folder or a complete ZIP file") from error
        texts = collections.defaultdict(list)
        for text in folder.rglob("*.txt"):
            texts[image_id_of(text.name)].append(text)
        pool = stack.enter_context(ThreadPool())  # most of the time goes into decoding PNGs, which threads share
        yield from pool.imap(functools.partial(_read_image, path, texts), images.itertuples())


def _read_image(path: str | Path, texts: Mapping[str, list[Path]], image: Any) -> Detections:
    """The detections of a row of an image table; ``texts``: by image id."""
    if len(found := texts[image.image_id]) != 1:
        raise ValueError(
            f"{path}, image {image.image_id}: found {len(found)} texts, expected one {image.image_id}*.txt"
        )
    (text,), category, score, masks = found, [], [], []
    for line in text.read_text(errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if not match or int(match["label"]) not in INSTANCE_LABEL_IDS:
            raise ValueError(f"{path}, {text.name}: found {line!r}, expected {_EXPECTED}")
        if int(match["label"]) in LABEL_IDS:
            category.append(LABEL_IDS.index(int(match["label"])))
            score.append(float(match["score"]))
            masks.append(text.parent / match["png"])
    frames = (png.read(mask, "gray 8", "gray 1", "gray 16") for mask in masks)
    return from_masks(image.image_id, (image.height, image.width), category, score, frames)
