"""Run a trained model over an evaluation set: detections as cropped masks, and their AP."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation
from detectron2.layers.mask_ops import _do_paste_mask
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch import nn

from scapes.ap import average_precision
from scapes.bootstrap import read_draws
from scapes.instances import instance_table
from scapes.predictions import Detections, read_predictions, write_predictions
from scapes.records import match_data_set, write_records
from seeded_rcnn.mapper import read_photo
from synlib.pointrend.monitor import Status
from synlib.runs.folder import RunDir
from synlib.spec import EvaluationSet


@torch.inference_mode()
def predict(model: nn.Module, cfg: CfgNode, images: pd.DataFrame) -> Iterator[Detections]:
    """Yield the detections of each image of the image table ``images``, at the size of its labels."""
    model.eval()
    (resize,) = build_augmentation(cfg, is_train=False)
    for row in images.itertuples():
        photo = read_photo(row.image_path, cfg.INPUT.FORMAT)
        resized = resize.get_transform(photo).apply_image(photo)
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        (found,) = model.inference([{"image": tensor}], do_postprocess=False)
        yield pasted(found, row.image_id, (row.height, row.width))


def pasted(found: Instances, image_id: str, size: tuple[int, int]) -> Detections:
    """What a model ``found`` in an image, at ``size`` (height, width) in px, each mask cut to its box.

    Masks are pasted one by one on the model's device, so that no full frame leaves it; the pixels equal those of
    Detectron2's ``detector_postprocess``.
    """
    boxes = Boxes(found.pred_boxes.tensor.clone())
    boxes.scale(size[1] / found.image_size[1], size[0] / found.image_size[0])
    boxes.clip(size)
    kept = boxes.nonempty()
    crops, corners = [], []
    for box, probability in zip(boxes.tensor[kept], found.pred_masks[kept], strict=True):
        frame, (rows, columns) = _do_paste_mask(probability[None], box[None], *size, skip_empty=True)
        crops.append((frame[0] >= 0.5).cpu().numpy())
        corners.append([int(edge) for edge in (columns.start, rows.start, columns.stop, rows.stop)])
    categories, scores = found.pred_classes[kept].cpu().numpy(), found.scores[kept].cpu().numpy()
    return Detections(image_id, size, categories, scores, np.array(corners, np.int32).reshape(-1, 4), crops)


def evaluate(
    model: nn.Module, cfg: CfgNode, on: EvaluationSet, images: pd.DataFrame, run: RunDir, cache_dir: str = ""
) -> None:
    """Predict on ``images``, keep the predictions, and write ``evaluations/NAME/result.json`` last.

    ``cache_dir``: where instance tables are kept; with the one of ``images`` the ground truth need not be counted.
    Under torchrun each process takes every n-th image and the first merges them: the result is that of one process.
    """
    rank, processes = comm.get_rank(), comm.get_world_size()
    folder, status = run.evaluation(on.name), Status(run, f"evaluate on {on.name}", len(images))
    parts = [folder / f"part-{r}.parquet" for r in range(processes)]
    write_predictions(parts[rank], _counted(predict(model, cfg, images.iloc[rank::processes]), status))
    comm.synchronize()
    if comm.is_main_process():
        streams = [read_predictions(part) for part in parts]
        in_order = (item for row in itertools.zip_longest(*streams) for item in row if item is not None)
        write_predictions(folder / "predictions.parquet", in_order)
        # The test split's labels are not public.
        result = {} if on.split == "test" else _score(folder, on, images, cache_dir)
        run.write(f"evaluations/{on.name}/result.json", {"identity": on.identity()} | result)
        for part in parts:
            part.unlink()
    comm.synchronize()


def _counted(items: Iterator[Detections], status: Status) -> Iterator[Detections]:
    for done, item in enumerate(items, 1):
        status.update(min(done * comm.get_world_size(), status.total))
        yield item


def _score(folder: Path, on: EvaluationSet, images: pd.DataFrame, cache_dir: str) -> dict[str, Any]:
    """Write ``records.npz`` and ``draws.npz``, which figures are made of, and return what ``result.json`` says.

    That is ``ap`` (8 classes x 10 overlaps), ``mean``, ``ap50`` (NaN as None), and counts.
    """
    predictions, alone = folder / "predictions.parquet", {"workers": 1, "progress": False}
    table = instance_table(images, cache_dir, **alone) if cache_dir else None
    records = match_data_set(images, predictions, instances=table, min_area_px=on.min_area_px, **alone)
    write_records(folder / "records.npz", records)
    read_draws(folder / "records.npz")  # makes and keeps draws.npz
    result = average_precision(records)
    known = {"ap": result.ap, "mean": result.mean, "ap50": result.ap50}
    counts = {"images": result.images, "truths": result.truths.tolist(), "predictions": result.predictions.tolist()}
    return {name: np.where(np.isnan(values), None, values).tolist() for name, values in known.items()} | counts
