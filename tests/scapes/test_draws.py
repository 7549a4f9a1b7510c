"""Draws: the same as the bootstrap's, kept beside the records, remade when they are not to be trusted."""

import numpy as np
import pytest

from scapes import bootstrap, draws
from scapes.ap import outcomes
from scapes.draws import NAMES, Draws, check_pairable, frame, over_seeds, percentiles, read_draws
from scapes.records import write_records
from tests.cases import simulate


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.npz"
    write_records(path, simulate(np.random.default_rng(0), 30))
    return path


@pytest.fixture
def resampled(monkeypatch):
    """How often images were drawn."""
    calls = []
    original = bootstrap.bootstrap_ap
    monkeypatch.setattr(bootstrap, "bootstrap_ap", lambda *a, **k: calls.append(1) or original(*a, **k))
    return calls


def equal(first, second):
    return first.truth == second.truth and all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in ("value", "drawn")
    )


def test_frame_is_that_of_the_bootstrap():
    records = simulate(np.random.default_rng(3), 40, classes=8)
    expected = bootstrap.intervals(records, resamples=100)
    expected = expected[expected["metric"] == "ap"].set_index("class")
    found = frame(draws.draw(outcomes(records), resamples=100)).set_index("class")
    assert found.index.tolist() == list(NAMES)
    np.testing.assert_allclose(found["ap"], expected["value"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[["low", "high"]], expected[["low", "high"]], rtol=0, atol=1e-7)


def test_a_second_call_draws_nothing(records, resampled):
    first = read_draws(records, resamples=20)
    assert first.drawn.shape == (20, 9)
    assert first.drawn.dtype == np.float32
    second = read_draws(records, resamples=20)
    assert equal(first, second)
    assert len(resampled) == 1


def test_other_records_or_settings_are_drawn_anew(records, resampled):
    first = read_draws(records, resamples=20)
    assert not equal(first, read_draws(records, resamples=20, seed=1))
    assert read_draws(records, resamples=21).drawn.shape == (21, 9)
    write_records(records, simulate(np.random.default_rng(1), 30))
    changed = read_draws(records, resamples=20)
    assert len(resampled) == 4
    assert changed.truth != first.truth
    assert not np.array_equal(changed.drawn, first.drawn)


@pytest.mark.parametrize("damage", [b"", b"no archive", "cut", "flipped"])
def test_a_damaged_file_is_made_again(records, resampled, damage):
    first = read_draws(records, resamples=20)
    kept = records.with_name("draws.npz")
    content = bytearray(kept.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    kept.write_bytes(damage if isinstance(damage, bytes) else bytes(content[: len(content) // (1 + (damage == "cut"))]))
    assert equal(read_draws(records, resamples=20), first)
    assert equal(read_draws(records, resamples=20), first)
    assert len(resampled) == 2


def test_no_half_written_file_is_left(records, monkeypatch):
    monkeypatch.setattr(draws.np, "savez", lambda file, **content: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_draws(records, resamples=20)
    assert [path.name for path in records.parent.iterdir()] == ["records.npz"]


def test_a_folder_that_cannot_be_written_to(records, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("read-only")

    expected = read_draws(records, resamples=20)
    records.with_name("draws.npz").unlink()
    monkeypatch.setattr(draws, "replacing", refuse)
    assert equal(read_draws(records, resamples=20), expected)


def test_missing_or_damaged_records_are_named(records):
    with pytest.raises(ValueError, match=r"nowhere.records\.npz: unreadable"):
        read_draws(records.parent / "nowhere" / "records.npz")
    records.write_bytes(records.read_bytes()[:100])
    with pytest.raises(ValueError, match="run again, it is made anew"):
        read_draws(records)


def test_the_same_images_are_drawn_for_runs_on_one_set_and_others_on_another():
    rng = np.random.default_rng(0)
    first = simulate(rng, 200)
    better = [record.__class__(*vars(record).values()) for record in first]
    for record in better:
        record.predictions["score"] **= 1.5  # keeps the order, hence AP
    other = [record.__class__("x" + record.image_id, *list(vars(record).values())[1:]) for record in first]
    one, same, another = (draws.draw(outcomes(records), resamples=300) for records in (first, better, other))
    np.testing.assert_array_equal(one.drawn, same.drawn)
    assert abs(np.corrcoef(one.drawn[:, -1], another.drawn[:, -1])[0, 1]) < 0.2
    check_pairable([one, same], "Cityscapes")
    with pytest.raises(ValueError, match=r"Cityscapes: found runs evaluated on 2 different"):
        check_pairable([one, another], "Cityscapes")


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_over_seeds_has_the_variance_of_a_mean(seeds):
    rng = np.random.default_rng(seeds)
    variances = [over_seeds(np.repeat(rng.normal(0, 1, (seeds, 1)), 300, 1), seed=k).var() for k in range(600)]
    assert np.mean(variances) == pytest.approx(1 / seeds, rel=0.12)


def test_over_one_seed_is_that_seed():
    drawn = np.random.default_rng(0).normal(size=(1, 50, 9))
    np.testing.assert_array_equal(over_seeds(drawn), drawn[0])


def test_percentiles_leave_unknown_draws_out(recwarn):
    drawn = np.stack([np.arange(101.0), np.full(101, np.nan)], 1)
    drawn[50:, 0] = np.nan
    low, high = percentiles(drawn, 0.9)
    assert (low[0], high[0]) == pytest.approx((49 * 0.05, 49 * 0.95))
    assert np.isnan([low[1], high[1]]).all()
    assert not recwarn.list
    with pytest.raises(ValueError, match="level 95"):
        percentiles(drawn, 95)


def test_draws_of_no_images():
    with pytest.raises(ValueError, match="no images"):
        draws.draw(outcomes([]))
    assert isinstance(draws.draw(outcomes(simulate(np.random.default_rng(0), 1)), resamples=2), Draws)
