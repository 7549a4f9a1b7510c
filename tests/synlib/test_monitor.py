"""TensorBoard: scalars of every tenth iteration once, however often a run was resumed."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seeded_rcnn.trainer import Trainer
from synlib.pointrend import worker
from tests.workers import make_run, real_spec


def test_scalars_once_each_although_iterations_were_repeated(tmp_path, study, monkeypatch):
    """40 iterations, the first 25 of them twice: interrupted in between."""
    run = make_run(
        tmp_path / "watched", real_spec(study, iterations=40), study.execution().replace(checkpoint_period=15)
    )

    def interrupt(trainer, _):
        if trainer.iter == 26:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "stop_if_asked", interrupt)
        worker.execute(run)
    worker.execute(run)
    events = EventAccumulator(str(run.path), size_guidance={"scalars": 0}).Reload()
    assert len(list(run.path.glob("events.out.tfevents.*"))) == 2
    assert {"total_loss", "lr", "data_time", "time", "memory_gib"} <= set(events.Tags()["scalars"])
    for tag in ("total_loss", "lr"):
        assert [scalar.step for scalar in events.Scalars(tag)] == [9, 19, 29, 39]
    assert all(0.01 < scalar.value < 100 for scalar in events.Scalars("memory_gib"))
