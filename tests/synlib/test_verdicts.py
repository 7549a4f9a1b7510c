"""Verdicts: the paper's own numbers must give the paper's own differences, and what is missing must be named."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from scapes.bootstrap import Draws, percentiles
from scapes.labels import CLASSES
from synlib import paper
from synlib.report import verdicts
from synlib.report.frames import Missing, across_seeds, published, stacked
from synlib.report.verdicts import FAILS, HOLDS, OPEN, contrast, verdict_of
from tests.fake_results import CLASS_FACTOR, FakeStudy

FIRST_TENTH = "On Cityscapes, the first 10 % of real images gain more than the other 90 %"
LAST_TENTH = "On Synscapes, the last 10 % of synthetic images are worth more than a mean tenth of the others"


def as_published(study):
    """Results of a study that came out exactly as the paper; where it gives no number, anything."""
    both = ("Synscapes", "Cityscapes")
    ends = {0: "Synscapes", 100: "Cityscapes"}
    table1 = {name: [paper.TABLE1[name][on] for on in both] for name in both}
    bends = np.array([paper.LIMITS[name] for name in CLASSES])
    runs = {
        "table1": [(name, {}, *aps) for name, aps in table1.items()],
        "ratios": [(f"{p} % real", {"real_percent": p}, *table1[ends.get(p, "Cityscapes")]) for p in (0, 10, 90, 100)],
        "removal": [
            (f"{a}, removal {s}", {"approach": a, "removal": s}, *(paper.TABLE2[a][on][s] for on in both))
            for a in paper.APPROACHES
            for s in ("off", "on")
        ],
        "amounts": [
            (f"{row['added']} added, {row['epochs']} epochs", row, 0.0, row["ap"])
            for row in published()["amounts"].drop(columns="evaluated on").to_dict("records")
        ],
        "thresholds": [
            (f"{t}", {"threshold": t}, CLASS_FACTOR * 30 * (1 - 0.5 * np.maximum(0, t - bends) / (90 - bends)), 1.0)
            for t in range(0, 100, 10)
        ],
        "fine_tuning": [
            (f"{m} {lr}", {"momentum": m, "learning_rate": lr}, 1.0, 39 - abs(np.log10(lr / best)))
            for m, best in paper.BEST_LEARNING_RATE.items()
            for lr in (best / 5, best, best * 5)
        ],
        "steps": [(s, {"step": s}, *(ap[on] for on in both)) for s, ap in paper.TABLE5.items()],
    }  # fmt: skip
    return {experiment: study.frame(experiment, rows) for experiment, rows in runs.items()}


def test_the_papers_numbers_give_the_papers_differences_and_verdicts():
    """All that it claims hold by its own numbers; removal "loses AP" in pre-training on Cityscapes."""
    study = FakeStudy(noise=0.0, resamples=60, flat_mean=True)
    found = verdicts.verdicts(as_published(study), study.draws)
    stated = found[found["paper"].notna()]
    assert len(stated) > 20
    np.testing.assert_allclose(stated["ours"], stated["paper"], atol=0.4)
    points = stated[stated["unit"] == "AP points"]
    np.testing.assert_allclose(points["ours"], points["paper"], atol=1e-9)
    assert (stated["verdict"] == HOLDS).all()
    assert stated["claim"].str.contains("loses AP in pre-training").sum() == 1
    mixing = found[found["claim"].str.startswith("Mixing beats the baseline")].iloc[0]
    assert mixing["shown in"] == "Tables 2 and 5"
    basic = paper.TABLE5["basic"]["Cityscapes"]
    assert mixing["paper"] == pytest.approx(paper.TABLE2["mixing"]["Cityscapes"]["on"] - basic)
    assert found["claim"].is_unique
    assert found["section"].is_monotonic_increasing
    assert found["section"].isin(["3.3", "4.1", "4.2", "4.3"]).all()
    assert found[["shown in", "unit", "verdict", "because"]].map(bool).all(axis=None)


@pytest.mark.parametrize(
    "on, claim, expected",
    [
        ("Cityscapes", FIRST_TENTH, lambda ap: 2 * ap[10] - ap[0] - ap[100]),
        ("Synscapes", LAST_TENTH, lambda ap: (ap[90] - ap[100]) - (ap[0] - ap[90]) / 9),
    ],
)
def test_rule_of_figure5_weighs_three_runs(one, on, claim, expected):
    row = verdicts.verdicts(one.results, one.draws, "Figure 5").set_index("claim").loc[claim]
    ap = one.results["ratios"].query("`class` == 'mean' and `evaluated on` == @on").set_index("real_percent")["ap"]
    assert row["ours"] == pytest.approx(expected(ap), abs=1e-4)
    assert row["low"] < row["ours"] < row["high"]


def test_nothing_run_decides_nothing_and_between_two_there_is_nothing(one):
    found = verdicts.verdicts({}, one.draws)
    assert (found["verdict"] == OPEN).all()
    assert found["because"].str.contains("was not run").all()
    two = verdicts.verdicts({"amounts": one.results["amounts"].query("epochs < 16")}, one.draws).set_index("claim")
    for than in ("fewer", "more"):
        because = two["because"][f"A middle number of epochs is better than {than}"]
        assert because == "found [8.0, 12.0], expected at least three values to compare"


def test_a_missing_or_failed_run_is_named(one):
    results = dict(one.results)
    results["ratios"] = results["ratios"].query("real_percent != 10")
    failed = results["steps"]["step"] == "optimized"
    state = np.where(failed, "diverged at iteration 7", "done")
    results["steps"] = results["steps"].assign(ap=results["steps"]["ap"].mask(failed), state=state)
    planned = {"trained on": "fine-tuning, removal on", "approach": "fine-tuning", "removal": "on", "state": "planned"}
    rows = results["removal"].query("approach != 'fine-tuning' or removal != 'on'")
    results["removal"] = pd.concat([rows, pd.DataFrame([planned])], ignore_index=True)
    found = verdicts.verdicts(results, one.draws).set_index("claim")
    open_ones = found[found["ours"].isna()]
    assert (open_ones["verdict"] == OPEN).all()
    because = open_ones["because"]
    assert because[FIRST_TENTH] == "no run with real percent 10"
    assert because["Fine-tuning, optimised, beats real images alone"] == "optimized: diverged at iteration 7"
    assert because["Mixing beats fine-tuning on Synscapes"].startswith("fine-tuning, removal on: no result")
    assert len(open_ones) == 1 + 3 + 4


def test_only_what_is_missing_is_not_decided(one):
    """A damaged file or a bug is no verdict."""
    draws = Mock(side_effect=ValueError("records unreadable"))
    with pytest.raises(ValueError, match="unreadable"):
        verdicts.verdicts({"table1": one.results["table1"]}, draws)
    with pytest.raises(KeyError, match="epochs"):
        verdicts.verdicts({"amounts": one.results["amounts"].drop(columns="epochs")}, one.draws)


def test_claims_of_one_place_read_their_experiments_only(one):
    """Of a study in which Table 1 was run, and the others are planned."""
    asked, nothing = [], {"state": "planned", "class": None, "evaluated on": None, "ap": np.nan}

    def results(experiment):
        asked.append(experiment)
        rows = one.results[experiment]
        return rows if experiment == "table1" else rows.drop_duplicates("run").assign(**nothing)

    study = SimpleNamespace(store=one, planned=lambda experiment: experiment, results=results)
    shown = verdicts.table(verdicts.judged(study, "3.3"))
    assert asked == ["table1"]
    assert shown.name == "claims" and shown.caption == "2 claims: 2 hold"
    assert shown.tables["claims"]["section"].tolist() == ["3.3"] * 2
    assert list(shown.tables["claims"]) == list(verdicts.COLUMNS)
    both = verdicts.judged(study, "3.3", "Figure 6")
    assert both["because"].tolist()[2] == "the experiment fine_tuning was not run"
    assert verdicts.table(both).caption == "3 claims: 2 hold, 1 not decided"
    assert len(verdicts.judged(study)) == len(verdicts.claims()) == len(verdicts.judged(study, ""))
    with pytest.raises(ValueError, match=r"claims of: found \['Table 9'\], expected some of 3.3, Table 1, 4.1"):
        verdicts.judged(study, "Table 9")


def test_the_conclusion_counts_and_names_what_is_not_as_in_the_paper(one):
    """Removal on, evaluated on Cityscapes, gains here and loses in the paper; a run of Figure 5 is missing."""
    results = dict(one.results) | {"ratios": one.results["ratios"].query("real_percent != 10")}
    judged = verdicts.verdicts(results, one.draws)
    text = verdicts.conclude(judged).data
    assert text.startswith(f"**{verdicts.table(judged).caption}.**")
    told = {line[2:] for line in text.splitlines() if line.startswith("- ")}
    assert "- " not in verdicts.conclude(judged[judged["section"] == "3.3"]).data
    judged = judged.set_index("claim")
    assert len(told) == (judged["verdict"] != HOLDS).sum() > 1
    (claim,) = judged.index[judged["verdict"] == FAILS]
    row = judged.loc[claim]
    ours = f"{row['ours']:+.1f} ({row['low']:.1f} to {row['high']:.1f}) AP points"
    assert f"{claim} (Table 2): here {ours}, in the paper +0.7; one seed." in told
    assert f"{FIRST_TENTH} (Figure 5): here no number, in the paper no number; no run with real percent 10." in told


def test_the_best_value_has_its_interval_its_runs_and_its_equals(one):
    runs = [(str(x), {"x": x, "g": g}, 1.0, ap) for g in (1, 2) for x, ap in ((0, 10), (5, 30), (7, 30.2), (9, 20))]
    study = FakeStudy(noise=0.5, flat_mean=True)
    results = study.frame("made", [(f"{factors['g']}/{name}", factors, *aps) for name, factors, *aps in runs])
    on_cityscapes = results[results["evaluated on"] == "Cityscapes"]
    heading, _, *lines = verdicts.best(on_cityscapes, study.draws, "x", ["g"]).data.split("\n")
    assert (heading, len(lines)) == ("The highest AP by x:", 2)
    for (g, rows), line in zip(on_cityscapes[on_cityscapes["class"] == "mean"].groupby("g"), lines, strict=True):
        top = 5 if "at **5**" in line else 7
        mean = rows[rows["x"] == top].iloc[0]
        assert line.startswith(f"- on Cityscapes, g {g}: ")
        assert f"**{mean['ap']:.1f}** ({mean['low']:.1f} – {mean['high']:.1f}) at **{top}**, run {mean['run']}" in line
        assert line.endswith(f"; not clearly lower: {12 - top}")
    rising = verdicts.best(on_cityscapes.query("x < 6 and g == 1"), study.draws, "x").data
    assert "at **5** (the largest that has a result), run" in rising and rising.endswith("all others are clearly lower")
    assert verdicts.best(results[results["x"] == 5], study.draws, "x", ["g"]).data.count("- on") == 0


def test_an_optimum_that_is_the_baseline_is_told(one):
    steps = one.results["steps"]
    same = steps[steps["step"] == "fine-tuned"].assign(step="optimized")
    results = {"steps": pd.concat([steps[steps["step"] != "optimized"], same])}
    found = verdicts.verdicts(results, one.draws).set_index("claim")
    row = found.loc["Fine-tuning is better with the optimised learning rate than with the baseline's, on Cityscapes"]
    assert (row["ours"], row["verdict"], row["because"]) == (0, OPEN, "both are the same run")


def test_networks_that_find_nothing_decide_nothing(recwarn):
    study = FakeStudy()
    for key, found in study.known.items():
        study.known[key] = Draws(found.value * 0, found.drawn * 0, found.truth)
    results = {name: frame.assign(ap=frame["ap"] * 0) for name, frame in study.results.items()}
    found = verdicts.verdicts(results, study.draws).set_index("claim")
    assert (found["verdict"] == OPEN).all()
    points = found[found["unit"] == "AP points"]
    assert points["because"].str.endswith("0 is in the interval").all()
    assert found["because"]["More of the persons can be removed than of other classes"].startswith("AP is 0")
    assert not recwarn.list


@pytest.mark.parametrize(
    "first, second, verdict", [(0.02, 0.002, HOLDS), (0.005, 0.005, FAILS), (0.02, 0.02, FAILS), (0.05, 0.002, OPEN)]
)
def test_peaks_at_the_same_effective_learning_rate(first, second, verdict):
    """The maxima are at the learning rates ``first`` of momentum 0 and ``second`` of 0.9."""
    study = FakeStudy(noise=0.1)
    runs = [
        (f"{m} {lr}", {"momentum": m, "learning_rate": lr}, 1.0, 30 - 5 * abs(np.log10(lr / best)))
        for m, best in ((0.0, first), (0.9, second))
        for lr in (0.0005, 0.002, 0.005, 0.02, 0.05)
    ]
    results = {"fine_tuning": study.frame("fine_tuning", runs)}
    found = verdicts.verdicts(results, study.draws, "Figure 6").iloc[0]
    assert found["verdict"] == verdict
    if first == 0.05:
        assert found["because"] == "momentum 0: the maximum is at the end of the grid, at learning rate 0.05"
    else:
        assert found["ours"] == pytest.approx(np.log10(second / 0.1 / first), abs=1e-9)


def test_across_seeds_and_failures():
    study = FakeStudy(seeds=(0, 1))
    tuned = study.results["fine_tuning"]
    lost = (tuned["learning_rate"] == 0.02) & (tuned["momentum"] == 0.0) & (tuned["seed"] == 1)
    tuned = tuned.assign(ap=tuned["ap"].mask(lost), state=tuned["state"].mask(lost, "diverged at iteration 3"))
    table = across_seeds(tuned, ["momentum", "learning_rate"]).set_index(["evaluated on", "momentum", "learning_rate"])
    row = table.loc["Cityscapes", 0.0, 0.02]
    assert (row["seeds"], row["diverged"], row["run"]) == (1, 1, "fine_tuning/lr 0.02, momentum 0/0")  # not both runs
    assert row["ap"] == row["low"] == row["high"]
    assert table.loc["Cityscapes", 0.0, 0.2][["seeds", "diverged"]].tolist() == [0, 2]
    assert np.isnan(table.loc["Cityscapes", 0.0, 0.2]["ap"])
    whole = table.loc["Cityscapes", 0.0, 0.06]
    assert whole["low"] < whole["ap"] < whole["high"]
    points = verdicts.verdicts(study.results, study.draws).query("unit == 'AP points'")
    assert points["because"].str.startswith("2 seeds").all()
    momentum = tuned.query("momentum == 0 and `evaluated on` == 'Cityscapes'")
    runs = stacked(momentum, study.draws, "learning_rate")
    assert runs.values.tolist() == [0.0002, 0.002, 0.006, 0.02, 0.06] and runs.seeds == 1
    assert runs.ap.shape == (5, 101, 9)
    only = momentum[(momentum["class"] == "mean") & (momentum["seed"] == 0)]
    np.testing.assert_allclose(100 * runs.ap[:, 0, -1], only["ap"].dropna())  # the seed that all rates have


def made(rng, ap, images, own=0.01, truth="val"):
    """Draws of a run whose AP is ``ap``: errors shared through the ``images``, and its own."""
    drawn = ap + images[:, None] + rng.normal(0, own, (len(images), 9))
    return Draws(np.full(9, ap), drawn.astype(np.float32), truth)


def total(*terms):
    """The contrast of (weight, evaluation set, {seed: draws}), as fractions."""
    known = {f"{k}/{seed}": drawn for k, (_, _, runs) in enumerate(terms) for seed, drawn in runs.items()}
    rows = [(k, "", w, on, seed, f"{k}/{seed}") for k, (w, on, runs) in enumerate(terms) for seed in runs]
    named = pd.DataFrame(rows, columns=["term", "trained on", "weight", "evaluated on", "seed", "run"])
    named = named.assign(ap=0.0, **{"class": "mean"})
    found, seeds = contrast(named, lambda run, on: known[run])
    assert seeds == len(set.intersection(*(set(runs) for _, _, runs in terms)))
    low, high = percentiles(found[1:] / 100)
    return SimpleNamespace(value=found[0] / 100, low=low, high=high, verdict=verdict_of(found))


def test_what_runs_share_cancels_and_weights_count():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.1, 2000)
    first, second = made(rng, 0.30, images), made(rng, 0.35, images)
    found = total((1, "val", {0: second}), (-1, "val", {0: first}))
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((0.05 - 0.0277, 0.05 + 0.0277), abs=0.004)
    assert found.verdict == HOLDS
    assert total((1, "val", {0: first}), (-1, "val", {0: second})).verdict == FAILS
    assert set(vars(total((1, "val", {0: first}), (-1, "val", {0: first}))).values()) == {0, OPEN}
    runs = [made(rng, ap, np.zeros(100)) for ap in (0.1, 0.3, 0.35)]
    runs[0].value[2] = 0.2
    terms = [(weight, "val", {0: run}) for weight, run in zip((-1, 2, -1), runs, strict=True)]
    assert total(*terms).value == pytest.approx(0.15)


def test_seeds_are_paired_and_their_spread_counts():
    rng = np.random.default_rng(2)
    images = rng.normal(0, 0.01, 1000)
    lucky = {0: 0.0, 1: 0.04, 2: -0.04, 3: 0.5}
    first = {seed: made(rng, 0.3 + luck, images, 0.001) for seed, luck in lucky.items()}
    for shuffled, verdict in (([0, 1, 2], HOLDS), ([1, 2, 0], OPEN)):  # a lucky seed is lucky for both, or for one
        second = {seed: made(rng, 0.31 + lucky[other], images, 0.001) for seed, other in enumerate(shuffled)}
        found = total((1, "val", second), (-1, "val", first))
        assert found.value == pytest.approx(0.01)  # of the three seeds that both have
        assert found.verdict == verdict


def test_different_evaluation_sets_may_differ_in_their_images():
    rng = np.random.default_rng(3)
    first, second = (made(rng, 0.3, np.zeros(50), truth=truth) for truth in "ab")
    assert total((1, "Cityscapes", {0: first}), (-1, "Synscapes", {0: second})).verdict == OPEN
    with pytest.raises(Missing, match="Cityscapes: found runs evaluated on 2 different"):
        total((1, "Cityscapes", {0: first}), (-1, "Cityscapes", {0: second}))
    with pytest.raises(Missing, match="no seed with results for every run compared"):
        total((1, "val", {0: first}), (-1, "val", {1: first}))


def test_claims_about_cityscapes_are_asked_of_other_sets():
    """Where all AP is as on Cityscapes the verdicts are, too; where it is the other way round, so are they."""
    study = FakeStudy()
    rows = pd.concat([study.results["removal"], study.results["steps"]])
    home = rows[rows["evaluated on"] == "Cityscapes"]
    rows = pd.concat([rows, *(home.assign(**{"evaluated on": on}) for on in ("Same", "Opposite"))])
    results = dict(list(rows.groupby("experiment")))

    def draws(run, on):
        found = study.draws(run, on if on in ("Cityscapes", "Synscapes") else "Cityscapes")
        return found if on != "Opposite" else Draws(1 - found.value, 1 - found.drawn, found.truth)

    found = verdicts.elsewhere(results, draws, ("Same", "Opposite", "Unknown"))
    of = {on: own.set_index("claim") for on, own in found.groupby("evaluated on")}
    assert "Mixing beats fine-tuning" in of["Same"].index and not of["Same"].index.str.contains("Synscapes").any()
    assert {HOLDS, FAILS} <= set(of["Cityscapes"]["verdict"]) and (of["Unknown"]["verdict"] == OPEN).all()
    assert of["Same"]["verdict"].equals(of["Cityscapes"]["verdict"])
    opposite = of["Cityscapes"]["verdict"].map({HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN})
    assert of["Opposite"]["verdict"].equals(opposite)
    np.testing.assert_allclose(of["Opposite"]["ours"], -of["Same"]["ours"])
    held = (of["Cityscapes"]["verdict"] == HOLDS).sum()
    assert f"- on Opposite: {held} claims: {held} do not hold" in verdicts.carried_over(found).data
    alone = verdicts.carried_over(verdicts.elsewhere(results, draws, ())).data
    assert f"Of the {held} that hold:" in alone and "- on other streets: `data.also_evaluate_on` names none" in alone
    shown = verdicts.elsewhere_table(found)
    assert shown.data.columns.tolist() == ["Cityscapes", "Same", "Opposite", "Unknown"]
    assert shown.data.loc["Mixing beats fine-tuning", "Unknown"] == "? –"
