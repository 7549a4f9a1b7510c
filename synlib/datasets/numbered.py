"""What synthetic data sets share whose images are numbered and come without an official split.

The split, fixed and documented: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest
``val``. For the 25,000 images of Synscapes that gives the 20,000 + 5,000 of section 3.1 of the paper; it does not depend on a
missing file, and works for a data set of any size. Lists of numbers override it.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from synlib.datasets import png

SPLITS = ("train", "val")


def last_train_number(largest: int) -> int:
    """The split rule: numbers up to this one are ``train``. 25,000 -> 20,000."""
    return (4 * largest + 4) // 5


def list_numbers(folder: str | Path, pattern: str) -> list[int]:
    """Numbers of the PNG files in ``folder``, ascending. ``pattern``: ``{}.png``, or ``rgb_{:04d}.png`` with leading zeros.

    Raises ``FileNotFoundError`` if there is no such folder or image, ``ValueError`` for PNG files with other names.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder; expected images named {pattern.format(1)} in it")
    names = [name for name in os.listdir(folder) if name.endswith(".png") and not name.startswith(".")]
    if not names:
        raise FileNotFoundError(f"{folder}: no images; expected {pattern.format(1)}, {pattern.format(2)}, ...")
    numbers = [int(digits) for name in names for digits in re.findall(r"(\d+)\.png$", name)[:1]]
    odd = sorted(set(names) - {pattern.format(number) for number in numbers})
    if odd:
        raise ValueError(f"{folder}: found {odd[0]!r} ({len(odd)} such), expected names like {pattern.format(1)}")
    return sorted(numbers)


def assign_splits(
    numbers: list[int], split: str | None, ids: Iterable[int | str] | None, root: Path
) -> list[tuple[int, str]]:
    """(number, split) of the images asked for, ascending; see :func:`synlib.datasets.synscapes.read_images`.

    Raises ``ValueError`` for an unknown split or a repeated id, ``FileNotFoundError`` for ids that do not exist or a split
    without images.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}, or None for both")
    last_train = last_train_number(numbers[-1])
    by_rule = [(number, "train" if number <= last_train else "val") for number in numbers]
    if ids is None:
        chosen = [(number, own) for number, own in by_rule if split in (None, own)]
    else:
        wanted = _check_ids(ids, numbers, root)
        chosen = [(number, split or own) for number, own in by_rule if number in wanted]
    if not chosen:
        raise FileNotFoundError(f"{root}: none of its {len(numbers)} images is in split {split!r}")
    return chosen


def image_row(dataset: str, split: str, number: int, paths: dict[str, Path]) -> dict:
    """Row of the image table; raises ``FileNotFoundError`` naming the first of the files that is missing."""
    try:
        header = png.read_header(paths["label_path"])
        for path in paths.values():
            os.stat(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename}: missing, though {paths['image_path']} exists") from error
    row = {"dataset": dataset, "split": split, "image_id": str(number)}
    return row | {name: str(path) for name, path in paths.items()} | {"height": header.height, "width": header.width}


def _check_ids(ids: Iterable[int | str], numbers: list[int], root: Path) -> set[int]:
    wanted = [int(number) for number in ids]
    if len(wanted) > len(set(wanted)):
        raise ValueError(f"{len(wanted) - len(set(wanted))} ids are listed more than once, expected each image once")
    missing = sorted(set(wanted) - set(numbers))
    if missing:
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return set(wanted)
