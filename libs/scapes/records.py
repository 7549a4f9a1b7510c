"""From the predictions file of a data set to its records, in parallel, and the small file that keeps the records."""

import functools
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import png
from scapes.ap import check_images
from scapes.files import replacing
from scapes.match import MIN_AREA_PX, PREDICTION, TRUTH, ImageMatch, match_image
from scapes.parallel import map_items
from scapes.predictions import IMAGES_PER_ROW_GROUP, images_in, read_predictions

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what np.load raises


def match_data_set(
    images: pd.DataFrame,
    predictions_path: str | Path,
    *,
    min_area_px: int = MIN_AREA_PX,
    band: float = 0,
    workers: int | None = None,
    progress: bool = True,
) -> list[ImageMatch]:
    """The records of a data set, sorted by image id: the same from any number of ``workers`` (default one per core).

    ``images``: image table with ``image_id`` and ``instance_path``. ``min_area_px``, ``band``: as in
    :func:`scapes.match.match_image`. Raises ValueError at once if the predictions lack an image or have one that is not
    in ``images``; all else as there.
    """
    there = images_in(predictions_path)
    check_images(there, images["image_id"])
    paths = images.set_index("image_id")["instance_path"][there]
    groups = [paths[start : start + IMAGES_PER_ROW_GROUP] for start in range(0, len(there), IMAGES_PER_ROW_GROUP)]
    match = functools.partial(_match, predictions_path, min_area_px=min_area_px, band=band)
    matched = map_items(match, groups, workers=workers, description="matching" * progress, unit="groups")
    return sorted((record for records in matched for record in records), key=lambda record: record.image_id)


def _match(predictions_path: str | Path, paths: pd.Series, **how: float) -> list[ImageMatch]:
    detections = read_predictions(predictions_path, image_ids=paths.index)
    return [match_image(png.read(paths[item.image_id], "gray 16"), item, **how) for item in detections]


def write_records(path: str | Path, records: Sequence[ImageMatch]) -> None:
    """Keep records in one ``.npz``: some kilobytes per image, enough for AP and intervals without masks."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            image_id=np.array([record.image_id for record in records], str),
            min_area_px=np.array([record.min_area_px for record in records], np.int64),
            truths=np.concatenate([np.empty(0, TRUTH), *(record.truths for record in records)]),
            predictions=np.concatenate([np.empty(0, PREDICTION), *(record.predictions for record in records)]),
            counts=np.array([(len(record.truths), len(record.predictions)) for record in records]).reshape(-1, 2),
        )


def read_records(path: str | Path) -> list[ImageMatch]:
    """What :func:`write_records` wrote, bit for bit. Raises ``ValueError`` naming a missing, damaged or other file."""
    try:
        with np.load(path) as file:
            names = (file["predictions"].dtype.names or ()) if "predictions" in file else ()
            if not set(PREDICTION.names) <= set(names):
                raise ValueError(f"found {sorted(file)}, expected the records of write_records")
            ends = np.cumsum(file["counts"], axis=0)[:-1].astype(int)
            truths = np.split(file["truths"], ends[:, 0])
            # Files of earlier versions have more fields
            predictions = np.split(file["predictions"][list(PREDICTION.names)].astype(PREDICTION), ends[:, 1])
            columns = (file["image_id"].tolist(), file["min_area_px"].tolist(), truths, predictions)
        return [ImageMatch(*fields) for fields in zip(*columns, strict=False)]
    except DAMAGE as error:
        advice = f"delete {Path(path).parent} and run again, it is made anew"
        raise ValueError(f"{path}: unreadable ({error}); {advice}") from error
