"""Which sample comes when, and how it is augmented, is a function of (seed, position) and of nothing else."""

import faulthandler
import functools
import multiprocessing
import os
import signal
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from scapes.files import BadFile
from seeded_rcnn import stream
from seeded_rcnn.stream import TrainingSamples

IMAGES = 7


class Recorder:
    """A mapper that reports which image it was given and what an augmentation would draw, or does what it is told."""

    fault = staticmethod(lambda: None)

    def __call__(self, row):
        self.fault()
        drawn = np.random.random(), np.random.randint(1000)
        return {"image": row["image_path"], "drawn": drawn, "instances": row["instance_id"].tolist()}


def samples(seed: int = 0, images: int = IMAGES) -> TrainingSamples:
    """Image ``i`` has ``i`` instances; the tables of both domains are interleaved and not in order."""
    records = [(("cityscapes", "synscapes")[i % 2], str(i // 2), f"image {i}", f"instances {i}") for i in range(images)]
    rows = pd.DataFrame(records, columns=["dataset", "image_id", "image_path", "instance_path"])
    owner = np.random.default_rng(1).permutation(np.repeat(np.arange(images), np.arange(images)))
    instances = rows[["dataset", "image_id"]].iloc[owner].reset_index(drop=True)
    box = np.arange(len(owner))
    instances = instances.assign(instance_id=1000 * owner + box, category=owner % 8, x0=box, y0=0, x1=box + 1, y1=1)
    return TrainingSamples(rows, instances, Recorder(), seed)


def batches(start: int, stop: int, *, batch_size: int = 4, rank: int = 0, ranks: int = 1, workers: int = 0, seed=0):
    positions = stream.batches(start, stop, batch_size, rank, ranks)
    return list(stream.load(samples(seed), positions, workers, 0, lambda slow: None))


def test_every_image_once_an_epoch_and_epochs_in_another_order():
    data = samples()
    epochs = [[data[epoch * IMAGES + step]["image"] for step in range(IMAGES)] for epoch in range(20)]
    assert all(sorted(epoch) == sorted(f"image {i}" for i in range(IMAGES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 15
    forwards = [data[position] for position in range(40)]  # a position does not remember what came before
    np.random.seed(123)
    assert [data[position] for position in reversed(range(40))] == forwards[::-1]


def test_groups_take_turns_and_one_group_is_in_the_order_of_earlier_versions():
    data = samples()
    order = [data.row(position)["image_path"] for position in range(IMAGES, 2 * IMAGES)]
    assert order == [f"image {i}" for i in np.random.default_rng([0, 1]).permutation(IMAGES)]
    data.groups = [np.arange(2), np.arange(2, IMAGES)]
    seen = [int(data.row(position)["image_path"].removeprefix("image ")) for position in range(40)]
    for group, own in ([0, 1], seen[::2]), ([2, 3, 4, 5, 6], seen[1::2]):
        epochs = [own[start : start + len(group)] for start in range(0, 20, len(group))]
        assert all(sorted(epoch) == group for epoch in epochs) and len(set(map(tuple, epochs))) > 1


def test_the_instances_of_an_image_stay_with_it():
    data = samples()
    for row in map(data.row, range(IMAGES)):
        index = int(row["image_path"].removeprefix("image "))
        assert row["instance_path"] == f"instances {index}"
        assert len(row["instance_id"]) == len(row["boxes"]) == index
        assert (row["instance_id"] // 1000 == index).all()
        assert (row["category"] == index % 8).all()
        assert (row["boxes"][:, 0] == row["instance_id"] % 1000).all()


def test_augmentation_and_seeds_of_the_model_differ_from_position_to_position_and_from_seed_to_seed():
    first, second = ([samples(seed)[position] for position in range(10 * IMAGES)] for seed in (0, 1))
    assert [item["image"] for item in first] != [item["image"] for item in second]
    drawn = {item["drawn"] for item in first}
    assert len(drawn) == len(first)
    assert not drawn & {item["drawn"] for item in second}
    seeds = {seed for item in first for seed in item["seeds"]}
    assert len(seeds) == 3 * len(first)
    assert all(0 <= seed < 2**63 for seed in seeds)  # what torch.manual_seed takes
    assert not seeds & {seed for item in second for seed in item["seeds"]}


BAD_FILE = Mock(side_effect=BadFile("size", "a.png", "1 x 1", "2 x 2"))
STUCK = functools.partial(time.sleep, 60)


def die(number: int):
    return lambda: (faulthandler.disable(), os.kill(os.getpid(), number))  # the signal is meant


@pytest.mark.parametrize(
    ("fault", "batch_bytes", "expected", "message"),
    [
        (BAD_FILE, 0, BadFile, "^a.png: size: found 1 x 1, expected 2 x 2$"),
        (Path("/a.png").read_bytes, 0, FileNotFoundError, r"^\[Errno 2\] No such file or directory: '/a.png'$"),
        (die(signal.SIGKILL), 0, RuntimeError, r"killed \(out of memory\?\): lower execution.loader_workers"),
        (die(signal.SIGBUS), 0, RuntimeError, r"^shared memory \(/dev/shm\): found \d+ MB, .*docker run --shm-size"),
        (STUCK, 10**15, RuntimeError, r"expected 4000000000 MB free.* fewer execution.loader_workers"),
        (STUCK, 0, TimeoutError, r"no batch for 1 s: still reading image \d or its labels; check its disk"),
        (STUCK, 0, KeyboardInterrupt, "asked"),
    ],
)
def test_a_wait_for_data_ends(monkeypatch, fault, batch_bytes, expected, message):
    """Soon, with one line that says why, and all loading processes with it."""

    told = []

    def check(slow):
        told.append(slow)
        if expected is KeyboardInterrupt and time.monotonic() > started + 0.5:
            raise KeyboardInterrupt("asked")

    monkeypatch.setattr(stream, "POLL_S", 0.1)
    monkeypatch.setattr(stream, "SLOW_S", 0.6)
    monkeypatch.setattr(stream, "PATIENCE_S", 1)
    monkeypatch.setattr(Recorder, "fault", staticmethod(fault))
    started, before = time.monotonic(), {*multiprocessing.active_children()}  # other tests' pools may be there
    with pytest.raises(expected, match=message) as caught:
        list(stream.load(samples(), stream.batches(0, 9, 4), 2, batch_bytes, check))
    assert "\n" not in str(caught.value)
    assert any(told) == (expected is TimeoutError)  # before, that it takes long
    while {*multiprocessing.active_children()} - before:
        assert time.monotonic() < started + 30


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_the_batch_of_one(ranks):
    parts = [batches(3, 9, rank=rank, ranks=ranks) for rank in range(ranks)]
    together = [[item for part in iteration for item in part] for iteration in zip(*parts, strict=True)]
    assert together == batches(3, 9)
    with pytest.raises(ValueError, match="batch_size 8 is not a multiple of the 3 training processes"):
        stream.batches(0, 10, 8, 0, 3)
