"""From the predictions file of a data set to its records, in parallel; and the small file that keeps the records."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scapes.ap import check_images
from scapes.files import replacing
from scapes.match import MIN_AREA_PX, PREDICTION, TRUTH, ImageMatch, match_image
from scapes.parallel import map_items
from scapes.predictions import images_by_row_group, read_predictions


def match_data_set(
    images: pd.DataFrame,
    prediction_paths: str | Path | Sequence[str | Path],
    *,
    instances: pd.DataFrame | None = None,
    min_area_px: int = MIN_AREA_PX,
    subset: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> list[ImageMatch]:
    """The records of a data set, sorted by image id: the same whatever the number of files and processes.

    Args:
        images: image table of the data set, of which ``image_id`` and ``instance_path`` are used.
        prediction_paths: what ``predictions.write_predictions`` wrote: one file, or one a process.
        instances: the data set's instance table, which saves counting the areas.
        min_area_px: as of :func:`scapes.match.match_image`.
        subset: allow images without predictions, to evaluate a part of the data set.
        workers: processes, default one a core.

    Raises:
        ValueError: before anything is compared, if predictions of an image come twice, are missing, or belong to no
            image of the table; and as ``match_image`` does.
    """
    paths = [prediction_paths] if isinstance(prediction_paths, (str, Path)) else prediction_paths
    groups = [(path, i, ids) for path in paths for i, ids in enumerate(images_by_row_group(path))]
    check_images(sorted(image_id for *_, ids in groups for image_id in ids), images["image_id"], subset)
    truth_paths = dict(zip(images["image_id"], images["instance_path"], strict=True))
    of_image = {} if instances is None else {key: rows[_USED] for key, rows in instances.groupby("image_id")}
    none_of_it = None if instances is None else instances[_USED].iloc[:0]
    jobs = [
        (path, i, [(truth_paths[image_id], of_image.get(image_id, none_of_it)) for image_id in ids], min_area_px)
        for path, i, ids in groups
    ]
    description = "matching" if progress else ""
    matched = map_items(_match_row_group, jobs, workers=workers, description=description, unit="row group")
    return sorted((record for records in matched for record in records), key=lambda record: record.image_id)


_USED = ["instance_id", "area_px"]


def _match_row_group(job: tuple) -> list[ImageMatch]:
    path, row_group, truths, min_area_px = job
    detections = read_predictions(path, row_groups=[row_group])
    return [
        match_image(truth_path, item, instances=rows, min_area_px=min_area_px)
        for item, (truth_path, rows) in zip(detections, truths, strict=True)
    ]


def write_records(path: str | Path, records: Iterable[ImageMatch]) -> None:
    """Keep records in one ``.npz``: some kilobytes an image, enough for AP, intervals and diagnosis without masks."""
    records = list(records)
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
    """What :func:`write_records` wrote, bit for bit. Raises ``ValueError`` naming a file of other content."""
    with np.load(path) as file:
        if "predictions" not in file or file["predictions"].dtype != PREDICTION:
            raise ValueError(f"{path}: found {sorted(file)}, expected the records of write_records of this version")
        ends = np.cumsum(file["counts"], axis=0)[:-1].astype(int)
        truths = np.split(file["truths"], ends[:, 0])
        predictions = np.split(file["predictions"], ends[:, 1])
        columns = (file["image_id"].tolist(), file["min_area_px"].tolist(), truths, predictions)
    return [ImageMatch(*fields) for fields in zip(*columns, strict=False)]
