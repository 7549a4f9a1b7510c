"""Run the official Cityscapes instance evaluator: the reference that AP and submissions are checked against.

It is the installed ``cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling``; its arithmetic is left alone.
Replaced, in memory and for the length of a call, is only what keeps it from running:

- ``np.in1d``, which NumPy 2.4 no longer has, by its documented successor ``np.isin``;
- ``writeDict2JSON``, which fails on NumPy integers and writes into the working and installation folders, by nothing;
- the module's ``args`` by a copy with ``minRegionSizes[0]`` and the folder set, nothing printed or cached.

:func:`evaluate_masks` replaces two more, ``readPredInfo`` and ``Image.open`` of predictions, to spare one PNG per mask.
"""

import copy
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as evaluator
from PIL import Image

Paths = Sequence[str | Path]
Prediction = tuple[int, float, np.ndarray]
"""Label id, score, and mask over the whole frame, bool ``(H, W)``."""


def evaluate_files(truths: Paths, texts: Paths, folder: str | Path, *, min_area_px: int = 100, **replaced: Any) -> dict:
    """The official evaluator's result dictionary: ``resultApMatrix`` is AP ``(1, 8, 10)``, ``averages`` what it prints.

    ``truths``: the ``*_instanceIds.png`` of each image; ``texts``: its prediction text, which names PNGs in ``folder``;
    ``min_area_px``: ``minRegionSizes[0]``; ``replaced``: of the evaluator's module. It raises IndexError, if all
    predictions of a class are ignored.
    """
    args = arguments(folder)
    args.minRegionSizes = np.array([min_area_px, *args.minRegionSizes[1:]])
    with runnable(**replaced):
        return evaluator.evaluateImgLists([str(path) for path in texts], [str(path) for path in truths], args)


def evaluate_masks(truths: Paths, predictions: Sequence[Sequence[Prediction]], *, min_area_px: int) -> dict:
    """As :func:`evaluate_files`, with the predictions of each image in memory."""
    flat = {f"{image}/{i}": item for image, items in enumerate(predictions) for i, item in enumerate(items)}
    infos = {str(image): {} for image in range(len(predictions))}
    for key, (label_id, score, _) in flat.items():
        infos[key.split("/")[0]][key] = {"labelID": label_id, "conf": score}

    def read(path):
        return Image.fromarray(flat[path][2].astype(np.uint8)) if path in flat else Image.open(path)

    replaced = {"Image": _with(Image, open=read), "readPredInfo": lambda image, args: infos[image]}
    return evaluate_files(truths, list(infos), "", min_area_px=min_area_px, **replaced)


def runnable(**replaced: Any) -> Any:
    """Within it, the evaluator runs on current NumPy, and writes nothing beside its input."""
    always = {"np": _with(np, in1d=np.isin), "writeDict2JSON": lambda *_: None}
    return mock.patch.multiple(evaluator, **always, **replaced)


def arguments(folder: str | Path) -> object:
    """A copy of the evaluator's global ``args`` that looks for predictions in ``folder`` and writes nothing."""
    args = copy.copy(evaluator.args)
    args.quiet, args.JSONOutput, args.gtInstancesFile = True, False, ""
    args.predictionPath, args.predictionWalk = str(Path(folder).resolve()), None
    return args


def _with(module: types.ModuleType, **attributes) -> types.ModuleType:
    """A stand-in for a module that has these attributes too; the module itself is not changed."""
    stand_in = types.ModuleType(module.__name__)
    stand_in.__dict__.update(vars(module), **attributes)
    return stand_in
