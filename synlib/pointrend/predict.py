"""Run a trained model over an evaluation set: detections as cropped masks, and their AP."""

import itertools
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch.nn import functional as F

from scapes.ap import average_precision, counts, summary
from scapes.bootstrap import read_draws
from scapes.match import match_data_set, write_records
from scapes.predictions import Detections, read_predictions, write_predictions
from seeded_rcnn import stream
from seeded_rcnn.mapper import read_photo
from synlib.runs.folder import RunDir, Status
from synlib.spec import EvaluationSet, Execution


class Photos:
    """``photos[index]``: what the network gets of that image of the image table ``images``."""

    def __init__(self, cfg: CfgNode, images: pd.DataFrame) -> None:
        self.paths, self.format = images["image_path"].tolist(), cfg.INPUT.FORMAT
        (self.resize,) = build_augmentation(cfg, is_train=False)

    def row(self, index: int) -> dict[str, str]:
        return {"image_path": self.paths[index]}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        photo = read_photo(self.paths[index], self.format)
        resized = self.resize.get_transform(photo).apply_image(photo)
        return {"image": torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))}


@torch.inference_mode()
def predict(
    model: torch.nn.Module, cfg: CfgNode, images: pd.DataFrame, loader_workers: int = 0, status: Status | None = None
) -> Iterator[Detections]:
    """Yield the detections of each image of ``images``, at the size of its labels; ``status`` is kept up to date."""
    model.eval()
    one_by_one = [range(index, index + 1) for index in range(len(images))]
    image_bytes = 3 * cfg.INPUT.MIN_SIZE_TEST * cfg.INPUT.MAX_SIZE_TEST
    batches = stream.load(Photos(cfg, images), one_by_one, loader_workers, image_bytes, status.wait if status else str)
    with futures.ThreadPoolExecutor(1) as beside:  # masks are pasted, and taken to the host, while the network goes on
        pasting = (
            beside.submit(pasted, *model.inference(batch, do_postprocess=False), row.image_id, (row.height, row.width))
            for row, batch in zip(images.itertuples(), batches, strict=True)
        )
        for done, (one, _next) in enumerate(itertools.pairwise(itertools.chain(pasting, [None])), 1):
            detections = one.result()
            if status:  # after all work on the image: a launcher that has died meanwhile is noticed
                status.update(min(done * comm.get_world_size(), status.total))
            yield detections


def pasted(found: Instances, image_id: str, size: tuple[int, int]) -> Detections:
    """What a model ``found`` in an image, at ``size`` (height, width) in px, each mask cut to its box.

    Masks are pasted on the model's device, and leave it together; pixels are as of Detectron2's detector_postprocess.
    """
    boxes = Boxes(found.pred_boxes.tensor.clone())
    boxes.scale(size[1] / found.image_size[1], size[0] / found.image_size[0])
    boxes.clip(size)
    kept = boxes.nonempty()
    low, high = boxes.tensor[kept].split(2, 1)
    masks, limit = found.pred_masks[kept], low.new_tensor(size[::-1])
    edges = torch.cat([(low.floor() - 1).clamp(min=0), torch.minimum(high.ceil() + 1, limit)], 1).int().cpu().numpy()
    # Where the centres of all columns and of all rows lie in each box, from -1 to 1: (detections, px).
    centres = [torch.arange(length, device=low.device) + 0.5 for length in size[::-1]]
    x, y = ((centre - low[:, [axis]]) / (high - low)[:, [axis]] * 2 - 1 for axis, centre in enumerate(centres))
    crops = [masks.new_zeros(0, dtype=torch.bool)]
    for index, (x0, y0, x1, y1) in enumerate(edges.tolist()):
        grid = torch.stack(torch.broadcast_tensors(x[index, None, x0:x1], y[index, y0:y1, None]), -1)
        crops.append(F.grid_sample(masks[index, None], grid[None], align_corners=False).flatten() >= 0.5)
    pixels, (widths, heights) = torch.cat(crops).cpu().numpy(), (edges[:, 2:] - edges[:, :2]).T
    ends = np.cumsum(heights * widths)
    crops = [pixels[end - h * w : end].reshape(h, w) for end, h, w in zip(ends, heights, widths, strict=True)]
    categories, scores = found.pred_classes[kept].cpu().numpy(), found.scores[kept].cpu().numpy()
    return Detections(image_id, size, categories, scores, edges, crops)


@torch.compiler.set_stance("force_eager")  # as it was trained, but for what is compiled: images may have many sizes
def evaluate(
    model: torch.nn.Module, cfg: CfgNode, on: EvaluationSet, images: pd.DataFrame, run: RunDir, job: Execution
) -> None:
    """Predict on ``images``, keep the predictions, and write ``evaluations/NAME/result.json`` last.

    Under torchrun each process takes every n-th image and the first merges them: the result is that of one process.
    """
    rank, processes = comm.get_rank(), comm.get_world_size()
    folder = run.evaluation(on.name)
    status = Status(run, f"evaluate on {on.name}", len(images), main=rank == 0)
    parts = [folder / f"part-{r}.parquet" for r in range(processes)]
    found = predict(model, cfg, images.iloc[rank::processes], job.loader_workers, status)
    write_predictions(parts[rank], found)
    comm.synchronize()
    if comm.is_main_process():
        streams = [read_predictions(part) for part in parts]
        in_order = (item for row in itertools.zip_longest(*streams) for item in row if item is not None)
        write_predictions(folder / "predictions.parquet", in_order)
        # The test split's labels are not public.
        result = {} if on.split == "test" else _score(folder, on, images, max(1, job.loader_workers))
        run.write(f"evaluations/{on.name}/result.json", {"identity": on.identity()} | result)
        for part in parts:
            part.unlink()
    comm.synchronize()


def _score(folder: Path, on: EvaluationSet, images: pd.DataFrame, workers: int) -> dict[str, Any]:
    """Write ``records.npz`` and ``draws.npz``, which figures are made of, and return what ``result.json`` says.

    That is ``ap`` (8 classes x 10 overlaps), ``mean``, ``ap50`` (NaN as None), and counts.
    """
    how = {"min_area_px": on.min_area_px, "workers": workers, "progress": False}
    records = match_data_set(images, folder / "predictions.parquet", **how)
    write_records(folder / "records.npz", records)
    read_draws(folder / "records.npz")  # makes and keeps draws.npz
    ap = average_precision(records)
    known = {"ap": ap} | dict(zip(("mean", "ap50"), summary(ap)[-1], strict=True))
    return {name: np.where(np.isnan(values), None, values).tolist() for name, values in known.items()} | counts(records)
