"""Which sample comes when, and how it is augmented, is a function of (seed, position) and of nothing else."""

import collections

import numpy as np
import pandas as pd
import pytest
import torch.utils.data
from hypothesis import given
from hypothesis import strategies as st

from seeded_rcnn import stream
from seeded_rcnn.stream import TrainingSamples

IMAGES = 7


class Recorder:
    """A mapper that reports which image it was given and what an augmentation would draw."""

    def __call__(self, row):
        drawn = np.random.random(), np.random.randint(1000)
        return {"image": row["image_path"], "drawn": drawn, "instances": row["instance_id"].tolist()}


def samples(seed: int = 0, images: int = IMAGES) -> TrainingSamples:
    """Image ``i`` has ``i`` instances; the tables of both domains are interleaved and not in order."""
    rows = pd.DataFrame(
        {
            "dataset": [("cityscapes", "synscapes")[i % 2] for i in range(images)],
            "image_id": [str(i // 2) for i in range(images)],
            "image_path": [f"image {i}" for i in range(images)],
            "instance_path": [f"instances {i}" for i in range(images)],
        }
    )
    owner = np.random.default_rng(1).permutation(np.repeat(np.arange(images), np.arange(images)))
    instances = rows[["dataset", "image_id"]].iloc[owner].reset_index(drop=True)
    box = np.arange(len(owner))
    instances = instances.assign(instance_id=1000 * owner + box, category=owner % 8, x0=box, y0=0, x1=box + 1, y1=1)
    return TrainingSamples(rows, instances, Recorder(), seed)


def batches(start: int, stop: int, *, batch_size: int = 4, rank: int = 0, ranks: int = 1, workers: int = 0, seed=0):
    positions, context = stream.batches(start, stop, batch_size, rank, ranks), "fork" if workers else None
    loader = torch.utils.data.DataLoader(
        samples(seed),
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context=context,
    )
    return list(loader)


def test_every_image_once_an_epoch_and_epochs_in_another_order():
    data = samples()
    epochs = [[data[epoch * IMAGES + step]["image"] for step in range(IMAGES)] for epoch in range(20)]
    assert all(sorted(epoch) == sorted(f"image {i}" for i in range(IMAGES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 15


def test_the_instances_of_an_image_stay_with_it():
    data = samples()
    for index in range(IMAGES):
        row = data.row(index)
        assert row["image_path"] == f"image {index}"
        assert row["instance_path"] == f"instances {index}"
        assert len(row["instance_id"]) == len(row["boxes"]) == index
        assert (row["instance_id"] // 1000 == index).all()
        assert (row["category"] == index % 8).all()
        assert (row["boxes"][:, 0] == row["instance_id"] % 1000).all()


def test_a_position_does_not_remember_what_came_before():
    data = samples()
    forwards = [data[position] for position in range(40)]
    np.random.seed(123)
    assert [data[position] for position in reversed(range(40))] == forwards[::-1]


def test_augmentation_differs_from_epoch_to_epoch():
    drawn = [samples()[position]["drawn"] for position in range(10 * IMAGES)]
    assert len(set(drawn)) == len(drawn)


def test_the_model_has_seeds_of_its_own_for_every_position_and_stage():
    found = [seed for position in range(10 * IMAGES) for seed in samples()[position]["seeds"]]
    assert len(set(found)) == len(found) == 30 * IMAGES
    assert all(0 <= seed < 2**63 for seed in found)  # what torch.manual_seed takes
    assert not set(found) & {seed for position in range(10 * IMAGES) for seed in samples(1)[position]["seeds"]}


def test_the_seed_changes_order_and_augmentation():
    first, second = ([samples(seed)[position] for position in range(2 * IMAGES)] for seed in (0, 1))
    assert [item["image"] for item in first] != [item["image"] for item in second]
    assert not {item["drawn"] for item in first} & {item["drawn"] for item in second}


def test_loader_workers_change_nothing():
    assert batches(0, 12) == batches(0, 12, workers=2)


@given(start=st.integers(0, 12), seed=st.integers(0, 2**31 - 1))
def test_a_resumed_run_goes_on_where_it_was(start, seed):
    assert batches(start, 12, seed=seed) == batches(0, 12, seed=seed)[start:]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_the_batch_of_one(ranks):
    parts = [batches(3, 9, rank=rank, ranks=ranks) for rank in range(ranks)]
    together = [[item for part in iteration for item in part] for iteration in zip(*parts, strict=True)]
    assert together == batches(3, 9)


def test_batches_may_cross_the_end_of_an_epoch():
    seen = collections.Counter(item["image"] for batch in batches(0, IMAGES) for item in batch)
    assert set(seen.values()) == {4}


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch_size 8 is not a multiple of the 3 training processes"):
        stream.batches(0, 10, 8, 0, 3)


def test_positions_of_the_second_of_two_processes():
    assert [list(positions) for positions in stream.batches(3, 6, 4, 1, 2)] == [[14, 15], [18, 19], [22, 23]]
    assert stream.batches(6, 6, 4) == []
