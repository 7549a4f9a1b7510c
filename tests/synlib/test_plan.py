"""The study's runs, from the profiles alone: the paper's numbers, shared runs once, and dependencies."""

from collections import Counter

import pytest

from synlib.profile import Grids, Profile
from synlib.runs.store import RunStore
from synlib.study.experiments import EXPERIMENTS
from synlib.study.plan import NOTEBOOKS, plan, seconds_per_iteration, text

PAPER = Profile.load("paper")


def of(experiment: str, profile: Profile = PAPER, seeds=(0,)):
    return plan(profile.replace(seeds=seeds), [experiment])


def distinct(planned):
    return {item.spec.run_id: item for item in planned}


def test_numbers_of_runs_are_those_of_the_paper():
    runs = distinct(plan(PAPER, list(EXPERIMENTS)))
    assert len(runs) == 63 + 7  # beyond the paper: what to remove (3), how to mix (1), another network (3)
    assert sum(item.spec.schedule.iterations for item in runs.values()) == pytest.approx(3.27e6, rel=0.01)
    counts = Counter(item.experiment for name in EXPERIMENTS for item in of(name))
    assert counts["thresholds"] == 10  # "10 reduced versions"
    assert counts["ratios"] == 11  # "11 different data sets"
    assert counts["amounts"] == 18  # Table 3
    assert counts["removal"] == 6  # Table 2, each evaluated on both sets
    assert counts["steps"] == 6  # Table 5


def test_the_papers_figures_4_and_5_remove_from_2975_images_what_is_said():
    """The same share of every class; from section 4.2 on the chosen thresholds."""
    for item in [*of("thresholds"), *of("ratios")]:
        assert (item.spec.data.images, item.spec.schedule.iterations) == (2975, 24_000)
    for item in of("thresholds"):
        assert set(item.spec.data.removal.values()) == {item.factors["threshold"] / 100}
    for item in [*of("ratios"), *of("amounts")]:
        if item.spec.data.synthetic_images:
            assert all(v == {"person": 0.6}.get(name, 0.3) for name, v in item.spec.data.removal.items())


@pytest.mark.parametrize(
    ("epochs", "added", "iterations"),
    [(50, 0, 18_594), (33, 6000, 37_022), (50, 6000, 56_094), (50, 9000, 74_844), (33, 20_000, 94_772)],
)
def test_iterations_of_table_3_are_those_that_table_4_counts(epochs, added, iterations):
    (item,) = (i for i in of("amounts") if (i.factors["epochs"], i.factors["added"]) == (epochs, added))
    assert item.spec.schedule.iterations == item.factors["iterations"] == iterations
    assert item.spec.data.real_images == 2975


def test_fine_tuning_starts_from_the_pruned_pre_training_on_real_images_only():
    (on,) = (item for item in of("pre_training") if item.factors["removal"] == "on")
    for item in of("fine_tuning"):
        assert item.spec.initial_run == on.spec.run_id
        assert (item.spec.data.real_images, item.spec.data.synthetic_images) == (2975, 0)
        assert item.spec.schedule.base_lr == item.factors["learning_rate"]
        assert item.spec.schedule.momentum == item.factors["momentum"]


@pytest.mark.parametrize("name", ["smoke", "demo", "paper"])
def test_tables_2_and_5_are_made_of_runs_that_the_figures_show(name):
    profile = Profile.load(name)
    shown = distinct([item for e in ("table1", "amounts", "pre_training", "fine_tuning") for item in of(e, profile)])
    steps = {item.factors["step"]: item.spec.run_id for item in of("steps", profile)}
    assert set(steps.values()) <= set(shown)
    new = [item.factors for item in of("removal", profile) if item.spec.run_id not in shown]
    assert new == [{"approach": approach, "removal": "off"} for approach in ("mixing", "fine-tuning")]


def test_shared_runs_are_listed_once_with_all_their_uses_and_each_seed_is_a_run_of_its_own():
    assert len(distinct(of("fine_tuning", seeds=(0, 1)))) == 2 * len(distinct(of("fine_tuning")))
    for item in of("fine_tuning", seeds=(1,)):
        assert item.spec.initial_run == distinct(of("pre_training", seeds=(1,)))[item.spec.initial_run].spec.run_id
    _, *runs, _ = text(plan(PAPER, ["table1", "thresholds", "ratios", "table1"]), PAPER, None).splitlines()
    assert len(runs) == 2 + 9 + 10
    assert sum(" table1: Synscapes, thresholds: 0 % removed  " in run for run in runs) == 1


def test_the_summary_shows_every_experiment_and_an_unknown_one_lists_them():
    assert set(NOTEBOOKS["05_summary"]) == set(EXPERIMENTS)
    with pytest.raises(ValueError, match="experiment 'figure9': expected one of table1"):
        of("figure9")


def test_the_papers_profile_writes_out_the_papers_grids():
    assert PAPER.grids == Grids()
    for name in ("demo", "paper"):  # both momenta cover the same effective learning rates
        rates = Profile.load(name).grids.learning_rates
        effective = {m: sorted(round(rate / (1 - m), 12) for rate in values) for m, values in rates.items()}
        assert len({tuple(values) for values in effective.values()}) == 1, effective


def test_hours_are_those_of_trainings_that_are_done(tmp_path):
    """Neither what took its time besides, nor a few last iterations, nor a damaged file changes the estimate."""
    store, planned = RunStore(tmp_path), of("thresholds")
    specs = [item.spec for item in planned]
    assert seconds_per_iteration(planned, PAPER, store) == (0.24, "the profile's 0.24 s")
    for spec, seconds in zip(specs, (10, 20, 60), strict=False):
        result = {"seconds": 9e9, "trained": 100, "training_seconds": seconds}
        store.run(spec).write("result.json", result)
    store.run(specs[3]).write("result.json", {"seconds": 50, "trained": 4, "training_seconds": 40})
    store.run(specs[4]).write("result.json", {"seconds": 50, "trained": 24_000})
    store.run(specs[5]).write("result.json", {"trained": [], "training_seconds": 1})
    store.run(specs[6]).write("result.json", {})
    (store.run(specs[6]).path / "result.json").write_text("{")
    each_once = seconds_per_iteration([*planned, *planned], PAPER, store)
    assert each_once == (0.2, "measured in 3 runs")
    assert seconds_per_iteration(planned, PAPER, None) == (0.24, "the profile's 0.24 s")
    one = PAPER.with_settings({"execution.processes": 1})
    assert "0.96 s an iteration, the profile's 0.24 s scaled to the GPUs here" in text(planned, one, None)
