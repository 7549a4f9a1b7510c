"""Verdicts: the paper's own numbers must give the paper's own differences, and what is missing must be named."""

import numpy as np
import pandas as pd
import pytest

from scapes.labels import CLASSES
from synlib import paper
from synlib.report import claims, verdicts
from synlib.report.claims import FAILS, HOLDS, OPEN
from synlib.report.frames import Missing, across_seeds, stacked
from tests.fake_results import CLASS_FACTOR, FakeStudy


def as_published(study):
    """Results of a study that came out exactly as the paper; where it gives no number, anything."""
    both = ("Synscapes", "Cityscapes")
    ends = {0: "Synscapes", 100: "Cityscapes"}
    table1 = {name: [paper.TABLE1[name, on] for on in both] for name in both}
    ratios = [(f"{p} % real", {"real_percent": p}, *table1[ends.get(p, "Cityscapes")]) for p in (0, 10, 90, 100)]
    removal = [
        (f"{a}, removal {s}", {"approach": a, "removal": s}, *(paper.TABLE2[a, on][s] for on in both))
        for a in paper.APPROACHES
        for s in ("off", "on")
    ]
    amounts = [
        (f"{row['added']} added, {row['epochs']} epochs", row, 0.0, row["ap"]) for row in paper.table3_rows()
    ]  # fmt: skip
    bends = np.array([paper.limit(name) for name in CLASSES])
    thresholds = [
        (f"{t}", {"threshold": t}, CLASS_FACTOR * 30 * (1 - 0.5 * np.maximum(0, t - bends) / (90 - bends)), 1.0)
        for t in range(0, 100, 10)
    ]
    tuned = [
        (f"{m} {lr}", {"momentum": m, "learning_rate": lr}, 1.0, 39 - abs(np.log10(lr / best)))
        for m, best in paper.BEST_LEARNING_RATE.items()
        for lr in (best / 5, best, best * 5)
    ]
    return {
        "table1": study.frame("table1", [(name, {}, *aps) for name, aps in table1.items()]),
        "ratios": study.frame("ratios", ratios),
        "removal": study.frame("removal", removal),
        "amounts": study.frame("amounts", amounts),
        "thresholds": study.frame("thresholds", thresholds),
        "fine_tuning": study.frame("fine_tuning", tuned),
        "steps": study.frame("steps", [(s, {"step": s}, *(ap[on] for on in both)) for s, ap in paper.TABLE5.items()]),
    }


@pytest.fixture(scope="module")
def published():
    study = FakeStudy(noise=0.0, resamples=60, flat_mean=True)
    return verdicts.verdicts(as_published(study), study.draws)


def test_the_papers_numbers_give_the_papers_differences(published):
    stated = published[published["paper"].notna()]
    assert len(stated) > 20
    np.testing.assert_allclose(stated["ours"], stated["paper"], atol=0.4)
    points = stated[stated["unit"] == "AP points"]
    np.testing.assert_allclose(points["ours"], points["paper"], atol=1e-9)


def test_the_papers_numbers_give_the_papers_verdicts(published):
    """All that it claims hold by its own numbers; removal "does not improve" pre-training on Cityscapes."""
    stated = published[published["paper"].notna()]
    assert (stated["verdict"] == HOLDS).all()
    assert stated["claim"].str.contains("does not improve").sum() == 1


def test_every_row_is_told_apart_and_placed(published):
    mixing = published[published["claim"].str.startswith("Mixing beats the baseline")].iloc[0]
    assert mixing["shown in"] == "Tables 2 and 5"
    basic = paper.TABLE5["basic"]["Cityscapes"]
    assert mixing["paper"] == pytest.approx(paper.TABLE2["mixing", "Cityscapes"]["on"] - basic)
    assert published["claim"].is_unique
    assert published["section"].is_monotonic_increasing
    assert published["section"].isin(["3.3", "4.1", "4.2", "4.3"]).all()
    assert published[["shown in", "unit", "verdict", "because"]].map(bool).all(axis=None)


def test_rule_of_figure5_weighs_three_runs():
    study = FakeStudy()
    found = verdicts.verdicts({"ratios": study.results["ratios"]}, study.draws).set_index("claim")
    ap = study.results["ratios"]
    ap = ap[(ap["class"] == "mean") & (ap["evaluated on"] == "Cityscapes")].set_index("real_percent")["ap"]
    row = found.loc["On Cityscapes, the first 10 % of real images gain more than the other 90 %"]
    assert row["ours"] == pytest.approx(2 * ap[10] - ap[0] - ap[100], abs=1e-4)
    assert row["low"] < row["ours"] < row["high"]
    ap = study.results["ratios"]
    ap = ap[(ap["class"] == "mean") & (ap["evaluated on"] == "Synscapes")].set_index("real_percent")["ap"]
    row = found.loc["On Synscapes, the last 10 % of synthetic images are worth more than a mean tenth of the others"]
    assert row["ours"] == pytest.approx((ap[90] - ap[100]) - (ap[0] - ap[90]) / 9, abs=1e-4)


def test_nothing_run_decides_nothing():
    found = verdicts.verdicts({}, FakeStudy().draws)
    assert (found["verdict"] == OPEN).all()
    assert found["because"].str.contains("was not run").all()


def test_a_missing_or_failed_run_is_named():
    study = FakeStudy()
    results = dict(study.results)
    results["ratios"] = results["ratios"][results["ratios"]["real_percent"] != 10]
    failed = results["steps"]["step"] == "optimized"
    state = np.where(failed, "failed: diverged at iteration 7", "done")
    results["steps"] = results["steps"].assign(ap=results["steps"]["ap"].mask(failed), state=state)
    planned = {"trained on": "fine-tuning, removal on", "approach": "fine-tuning", "removal": "on", "state": "planned"}
    rows = results["removal"]
    rows = rows[~((rows["approach"] == "fine-tuning") & (rows["removal"] == "on"))]
    results["removal"] = pd.concat([rows, pd.DataFrame([planned])], ignore_index=True)
    found = verdicts.verdicts(results, study.draws).set_index("claim")
    open_ones = found[found["ours"].isna()]
    assert (open_ones["verdict"] == OPEN).all()
    because = open_ones["because"]
    assert because["On Cityscapes, the first 10 % of real images gain more than the other 90 %"] == (
        "no run with real percent 10"
    )
    assert because["Fine-tuning, optimised, beats real images alone"] == "optimized: failed: diverged at iteration 7"
    assert because["Mixing beats fine-tuning on Synscapes"].startswith("fine-tuning, removal on: no result")
    assert len(open_ones) == 1 + 3 + 4


@pytest.mark.parametrize(
    "broken, error, match",
    [({"draws": ValueError("records unreadable")}, ValueError, "unreadable"), ({}, KeyError, "epochs")],
)
def test_only_what_is_missing_is_not_decided(broken, error, match):
    """A damaged file or a bug is no verdict."""
    study = FakeStudy()

    def draws(run, on):
        raise broken["draws"]

    results = {"amounts": study.results["amounts"].drop(columns="epochs"), "table1": study.results["table1"]}
    with pytest.raises(error, match=match):
        verdicts.verdicts(results, draws if broken else study.draws)


class Store:
    """As much of a study as verdicts need: results of some experiments, in which others are planned only."""

    def __init__(self, fake, *run):
        self.fake, self.run, self.asked = fake, run, []
        self.store = self
        self.draws = fake.draws

    def planned(self, experiment):
        self.asked.append(experiment)
        return experiment

    def results(self, experiment):
        rows = self.fake.results[experiment]
        if experiment in self.run:
            return rows
        nothing = {"state": "planned", "class": None, "evaluated on": None, "ap": np.nan}
        return rows.drop_duplicates("run").assign(**nothing)


def test_claims_of_one_place_read_their_experiments_only():
    study = Store(FakeStudy(), "table1")
    shown = verdicts.show(study, "3.3")
    assert study.asked == ["table1"]
    assert shown.name == "claims" and shown.caption == "2 claims: 2 hold"
    assert shown.tables["claims"]["section"].tolist() == ["3.3"] * 2
    assert list(shown.tables["claims"]) == list(verdicts.COLUMNS)
    both = verdicts.show(study, "3.3", "Figure 6").tables["claims"]
    assert both["because"].tolist()[2] == "the experiment fine_tuning was not run"
    assert verdicts.show(study, "3.3", "Figure 6").caption == "3 claims: 2 hold, 1 not decided"
    assert len(verdicts.show(study).data) == len(verdicts.CLAIMS) == len(verdicts.show(study, "").data)
    with pytest.raises(ValueError, match=r"claims of 'Table 9': expected one of 3.3, Table 1, 4.1"):
        verdicts.show(study, "Table 9")


def test_several_seeds_are_averaged_and_counted():
    study = FakeStudy(seeds=(3, 4))
    found = verdicts.verdicts(study.results, study.draws)
    points = found[found["unit"] == "AP points"]
    assert points["because"].str.startswith("2 seeds").all()
    one = study.results["table1"]
    mean = one[one["class"] == "mean"].groupby(["trained on", "evaluated on"])["ap"].mean()
    expected = mean["Synscapes", "Synscapes"] - mean["Synscapes", "Cityscapes"]
    assert points["ours"].iloc[0] == pytest.approx(expected, abs=1e-4)


def test_an_optimum_that_is_the_baseline_is_told():
    study = FakeStudy()
    steps = study.results["steps"]
    same = steps[steps["step"] == "fine-tuned"].assign(step="optimized")
    results = {"steps": pd.concat([steps[steps["step"] != "optimized"], same])}
    found = verdicts.verdicts(results, study.draws).set_index("claim")
    row = found.loc["Fine-tuning is better with the optimised learning rate than with the baseline's, on Cityscapes"]
    assert (row["ours"], row["verdict"], row["because"]) == (0, OPEN, "both are the same run")


def test_networks_that_find_nothing_decide_nothing(recwarn):
    study = FakeStudy()
    for key, found in study.known.items():
        zero = found.value * 0, found.drawn * 0
        study.known[key] = found.__class__(*zero, found.truth)
    results = {
        name: frame.assign(**{column: frame[column] * 0 for column in ("ap", "low", "high")})
        for name, frame in study.results.items()
    }
    found = verdicts.verdicts(results, study.draws).set_index("claim")
    assert (found["verdict"] == OPEN).all()
    points = found[found["unit"] == "AP points"]
    assert points["because"].str.endswith("0 is in the interval").all()
    assert found["because"]["More of the persons can be removed than of other classes"].startswith("AP is 0")
    assert not recwarn.list


def peaks(study, first, second):
    """Fine-tuning results with the maxima at these learning rates of momentum 0 and 0.9."""
    runs = [
        (f"{m} {lr}", {"momentum": m, "learning_rate": lr}, 1.0, 30 - 5 * abs(np.log10(lr / best)))
        for m, best in ((0.0, first), (0.9, second))
        for lr in (0.0005, 0.002, 0.005, 0.02, 0.05)
    ]
    return {"fine_tuning": study.frame("fine_tuning", runs)}


@pytest.mark.parametrize(
    "first, second, verdict", [(0.02, 0.002, HOLDS), (0.005, 0.005, FAILS), (0.02, 0.02, FAILS), (0.05, 0.002, OPEN)]
)
def test_peaks_at_the_same_effective_learning_rate(first, second, verdict):
    study = FakeStudy(noise=0.1)
    found = verdicts.verdicts(peaks(study, first, second), study.draws).set_index("shown in").loc["Figure 6"]
    assert found["verdict"] == verdict
    if first == 0.05:
        assert found["because"] == "momentum 0: the maximum is at the end of the grid, at learning rate 0.05"
    else:
        assert found["ours"] == pytest.approx(np.log10(second / 0.1 / first), abs=1e-9)


def test_between_two_there_is_nothing():
    assert claims.between([1, 2, 4]) == 2
    with pytest.raises(Missing, match="at least three"):
        claims.between([1, 2])


def test_across_seeds_and_failures():
    study = FakeStudy(seeds=(0, 1))
    tuned = study.results["fine_tuning"]
    lost = (tuned["learning_rate"] == 0.02) & (tuned["momentum"] == 0.0) & (tuned["seed"] == 1)
    tuned = tuned.assign(ap=tuned["ap"].mask(lost), state=tuned["state"].mask(lost, "failed: diverged at iteration 3"))
    table = across_seeds(tuned, ["momentum", "learning_rate"]).set_index(["evaluated on", "momentum", "learning_rate"])
    row = table.loc["Cityscapes", 0.0, 0.02]
    assert (row["seeds"], row["diverged"]) == (1, 1)
    assert row["ap"] == row["low"] == row["high"]
    assert table.loc["Cityscapes", 0.0, 0.2][["seeds", "diverged"]].tolist() == [0, 2]
    assert np.isnan(table.loc["Cityscapes", 0.0, 0.2]["ap"])
    whole = table.loc["Cityscapes", 0.0, 0.06]
    assert whole["spread"] == pytest.approx((whole["high"] - whole["low"]) / np.sqrt(2))
    momentum = tuned[tuned["momentum"] == 0.0]
    runs = stacked(momentum, study.draws, "learning_rate", "Cityscapes")
    assert 0.2 in runs.failed
    assert runs.drawn.shape == (len(runs.values), 100, 9)
    only = momentum[
        (momentum["class"] == "mean") & (momentum["seed"] == 0) & (momentum["evaluated on"] == "Cityscapes")
    ]
    np.testing.assert_allclose(100 * runs.ap[:, -1], only["ap"].dropna(), rtol=1e-6)  # the seed that all rates have
