"""From the predictions file of a data set to its records, in parallel, and the small file that keeps the records."""

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
from scapes.predictions import images_by_row_group, read_row_group

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what np.load raises


def match_data_set(
    images: pd.DataFrame,
    predictions_path: str | Path,
    *,
    instances: pd.DataFrame | None = None,
    min_area_px: int = MIN_AREA_PX,
    workers: int | None = None,
    progress: bool = True,
) -> list[ImageMatch]:
    """The records of a data set, sorted by image id: the same from any number of ``workers`` (default one per core).

    ``images``: image table with ``image_id`` and ``instance_path``. ``instances``: the data set's instance table.
    Raises ValueError at once if the predictions lack an image or have one that is not in ``images``; all else as
    :func:`scapes.match.match_image`.
    """
    groups = images_by_row_group(predictions_path)
    check_images([image_id for ids in groups for image_id in ids], images["image_id"])
    truth_paths = dict(zip(images["image_id"], images["instance_path"], strict=True))
    of_image = {} if instances is None else dict(list(instances.groupby("image_id")))
    default = None if instances is None else instances.iloc[:0]
    truths = [[(truth_paths[image_id], of_image.get(image_id, default)) for image_id in ids] for ids in groups]
    jobs = [(predictions_path, number, of_group, min_area_px) for number, of_group in enumerate(truths)]
    matched = map_items(_match_row_group, jobs, workers=workers, description="matching" * progress, unit="groups")
    return sorted((record for records in matched for record in records), key=lambda record: record.image_id)


def _match_row_group(job: tuple) -> list[ImageMatch]:
    path, number, truths, min_area_px = job
    return [
        match_image(png.read(truth, "gray 16"), item, instances=rows, min_area_px=min_area_px)
        for item, (truth, rows) in zip(read_row_group(path, number), truths, strict=True)
    ]


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
