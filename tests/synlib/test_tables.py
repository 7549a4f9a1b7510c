"""Tables 1 to 5 and those of section 4.1, from made-up results."""

import itertools
import re
from types import SimpleNamespace

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest

from scapes import cityscapes, png
from scapes.labels import CLASSES, LABEL_IDS
from scapes.predictions import from_masks, write_predictions
from synlib import paper
from synlib.curation.prune import prune
from synlib.profile import Grids
from synlib.report import curves, tables, verdicts
from synlib.report.frames import published
from synlib.report.limits import limits
from synlib.report.verdicts import FAILS, HOLDS, OPEN
from tests.fake_results import FakeStudy


def cell(results, on="Cityscapes", **factors):
    """One cell: mean over seeds, and with several from the smallest to the largest instead of the interval."""
    wanted = {"class": "mean", "evaluated on": on} | factors
    chosen = results[(results[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    if len(chosen) > 1:
        chosen = chosen.assign(low=chosen["ap"].min(), high=chosen["ap"].max())
    return chosen[["ap", "low", "high"]].mean()


def removing(**percent):
    """A profile as far as the tables of section 4.1 need it."""
    return SimpleNamespace(grids=Grids(removal=percent))


def shown(row):
    return f"{row['low']:.1f} – {row['high']:.1f}"


def test_table1(one):
    table = tables.table1(one.results["table1"]).data
    expected = cell(one.results["table1"], "Synscapes", **{"trained on": "Cityscapes"})
    assert table.loc["Cityscapes", "Synscapes"].tolist() == [expected["ap"], shown(expected), 11.8]
    kept = table.loc["Synscapes", "kept (%)"]
    assert kept["paper"] == pytest.approx(100 * 12.9 / 31.6)
    own = cell(one.results["table1"], "Synscapes", **{"trained on": "Synscapes"})["ap"]
    other = cell(one.results["table1"], **{"trained on": "Synscapes"})["ap"]
    assert kept["ours"] == pytest.approx(100 * other / own)
    without = one.results["table1"].query("`evaluated on` == 'Cityscapes'")
    assert tables.table1(without).data["kept (%)", "ours"].isna().all()


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_table2(seeds):
    results = FakeStudy(seeds).results["removal"]
    table = tables.table2(results).data
    band = "95 % interval" if len(seeds) == 1 else "range over 2 seeds"
    assert (band == "95 % interval") == ("95 % interval" in table.columns.get_level_values(1))
    for approach, on in itertools.product(paper.TABLE2, ("Synscapes", "Cityscapes")):
        published = paper.TABLE2[approach][on]
        row = table.loc[(paper.APPROACHES[approach], on)]
        found = {switch: cell(results, on, approach=approach, removal=switch) for switch in ("off", "on")}
        for switch in ("off", "on"):
            assert row[f"removal {switch}", "ours"] == pytest.approx(found[switch]["ap"])
            assert row[f"removal {switch}", band] == shown(found[switch])
            assert row[f"removal {switch}", "paper"] == published[switch]
        assert row["gained by removal", "ours"] == pytest.approx(found["on"]["ap"] - found["off"]["ap"])
        assert row["gained by removal", "paper"] == pytest.approx(published["on"] - published["off"])


def test_two_seeds_far_apart_are_a_range_in_every_table():
    """And a seed without a result is counted."""
    study = FakeStudy((0, 1))

    def apart(experiment):
        rows = study.results[experiment]
        ap = rows["seed"].map({0: 10.0, 1: 30.0}).mask((rows["trained on"] == "Cityscapes") & (rows["seed"] == 1))
        return rows.assign(ap=ap, low=ap - 1, high=ap + 1)

    for table in (tables.table1(apart("table1")).data, tables.table5(apart("steps")).data):
        assert table.iloc[0]["Cityscapes", "range over 2 seeds"] == "10.0 – 30.0"
        assert not table.columns.isin(["95 % interval"], level=1).any()
    fewer = tables.table1(apart("table1")).data.loc["Cityscapes", ("Synscapes", "range over 2 seeds")]
    assert fewer == "10.0 – 10.0 (1 of 2)"
    amounts = apart("amounts")
    assert tables.table4(amounts).data["best AP", "range over 2 seeds"].iloc[-1] == "10.0 – 30.0"
    kinds = tables.table3(amounts).data.index.get_level_values(1).unique().tolist()
    assert kinds == ["ours", "range over 2 seeds", "paper"]


def test_table5_in_the_papers_order_and_a_failed_or_missing_step_is_a_dash(one):
    results = one.results["steps"]
    table = tables.table5(results).data
    assert table.index.tolist() == list(paper.STEPS.values())
    assert table["Cityscapes", "paper"].tolist() == [row["Cityscapes"] for row in paper.TABLE5.values()]
    expected = cell(results, "Synscapes", step="fine-tuned")["ap"]
    assert table.loc["+ Fine-tune on Cityscapes", ("Synscapes", "ours")] == expected
    failed = results["step"] == "optimized"
    results = results.assign(**{name: results[name].mask(failed) for name in ("ap", "low", "high")})
    styled = tables.table5(results[results["step"] != "3k"])
    table = styled.data
    for label in ("+ Optimize hyperparameters", "Pre-train on 3k Synscapes images"):
        assert np.isnan(table.loc[label, ("Cityscapes", "ours")])
        assert table.loc[label, ("Cityscapes", "95 % interval")] == "–"
    assert styled.to_html().count("–") >= 8
    empty = tables.table5(results.iloc[:0]).data
    assert empty["Cityscapes", "ours"].isna().all()
    assert empty["Cityscapes", "paper"].notna().all()


def test_table3_names_ours_and_the_papers(one):
    results = one.results["amounts"]
    table = tables.table3(results).data
    assert table.columns.tolist() == ["0 images", "300 images", "600 images (paper: 20k)"]
    epochs = ["8 epochs (paper: 33)", "12 epochs (paper: 50)", "16 epochs (paper: 66)"]
    assert table.index.get_level_values(0).unique().tolist() == epochs
    expected = cell(results, epochs=12.0, added=600)
    column = table.loc["12 epochs (paper: 50)", "600 images (paper: 20k)"]
    assert column.tolist() == [expected["ap"], shown(expected), 40.9]
    assert np.isnan(table.loc[("12 epochs (paper: 50)", "paper"), "300 images"])
    assert tables.table3(results[results["evaluated on"] == "Synscapes"]).data.xs("ours", level=1).isna().all(axis=None)


def at_paper_scale(study, rows):
    return study.frame("amounts", [(f"{row['epochs']} {row['added']}", row, 1.0, row["ap"]) for row in rows])


def test_tables_3_and_4_at_the_papers_scale():
    """Labels of Table 3 once; Table 4 is the paper's but for its first row."""
    study = FakeStudy(noise=0, resamples=50, flat_mean=True)
    papers = published()["amounts"].drop(columns="evaluated on").to_dict("records")
    some = [row for row in papers if row["added"] in (0, 6000, 20_000) and row["epochs"] != 66]
    table = tables.table3(at_paper_scale(study, some)).data
    assert table.columns.tolist() == ["0 images", "6,000 images", "20,000 images"]
    for epochs in (33, 50):
        rows = table.loc[f"{epochs} epochs"]
        assert rows.loc["paper"].tolist() == [paper.TABLE3[epochs][added] for added in (0, 6000, 20_000)]
        np.testing.assert_allclose(rows.loc["ours"].astype(float), rows.loc["paper"].astype(float))
    table = tables.table4(at_paper_scale(study, papers)).data
    assert table.index.tolist() == [f"{number:,} iterations" for number in paper.TABLE4]
    differs = ~np.isclose(table["best AP", "ours"].astype(float), table["best AP", "paper"].astype(float))
    assert differs.tolist() == [True] + [False] * 5
    added = ["0", "6,000", "6,000", "9,000", "20,000", "20,000"]
    assert table["synthetic images added"].T.to_numpy().tolist() == [added, added]


def test_table4_of_a_smaller_study(one):
    results = one.results["amounts"]
    table = tables.table4(results).data
    assert table.index[-1] == "5,700 iterations (paper: 150k)"  # of the paper's 189,544, of our 7,200
    ap = table["best AP", "ours"]
    assert ap.isna().tolist() == [True] + [False] * 5
    assert ap.iloc[1:].is_monotonic_increasing
    assert ap.iloc[-1] == results[(results["class"] == "mean") & (results["evaluated on"] == "Cityscapes")]["ap"].max()
    assert table["epochs", "ours"].iloc[1] == "8"
    nothing = tables.table4(results.assign(ap=np.nan)).data
    assert nothing["best AP", "ours"].isna().all() and len(nothing) == 6


def test_best_within_prefers_the_shorter_of_equals():
    runs = pd.DataFrame({"ap": [3.0, 5.0, 5.0, np.nan], "iterations": [1, 3, 2, 1]})
    found = tables.best_within(runs, [0.5, 1, 3])
    assert found["taken"].tolist() == [pytest.approx(np.nan, nan_ok=True), 1, 2]
    assert found["ap"].tolist()[1:] == [3, 5]
    same = pd.DataFrame({"ap": [5.0, 3.0], "iterations": [2, 2]})
    assert tables.best_within(same, [2])["ap"].tolist() == [5]


def test_limits_beside_the_papers_readings(one):
    found = limits(one.results["thresholds"], one.draws).set_index("class")
    assert found.index.tolist() == [*CLASSES, "mean"]
    assert found["limit"].drop("mean").to_numpy() == pytest.approx(found["paper"].drop("mean").to_numpy(), abs=8)
    assert ((found["low"] <= found["limit"]) & (found["limit"] <= found["high"])).all()
    styled = tables.limits(found.reset_index(), removing(person=60, car=12.5))
    assert styled.data["removed from here on"].tolist()[:8] == [60, 0, 12.5, 0, 0, 0, 0, 0]
    assert styled.data["limit in the paper"].tolist()[:8] == [60] + [30] * 7
    person, car = (cells_of(styled)[k : k + 6] for k in (0, 12))
    assert person[2:4] == ["60", "not told apart"] and car[2:5] == ["30", "not told apart", "12.5"]
    assert cells_of(styled)[-4:-1] == ["–", "–", "–"]
    found["paper"] = [0, 90, 30, *[np.nan] * 6]
    against = tables.limits(found.reset_index(), removing()).data["against the paper"]
    assert against.tolist()[:4] == ["higher", "lower", "not told apart", "–"]
    unknown = limits(one.results["thresholds"].query("`evaluated on` != 'Synscapes'"), one.draws)
    assert unknown[["limit", "below", "low", "high", "ap"]].isna().all(axis=None) and len(unknown) == 9


def test_limits_that_may_be_larger_say_so(one):
    found = limits(one.results["thresholds"], one.draws)
    found.loc[:2, ["limit", "below", "low", "high"]] = [[90, np.nan, 80, np.nan], [70, 80, 60, np.nan], [np.nan] * 4]
    shown = tables.limits(found, removing()).data
    assert shown["limit (% removed)"].tolist()[:3] == ["≥ 90", "70 – 80", "–"]
    assert shown["95 % interval"].tolist()[:3] == ["≥ 80", "≥ 60", "–"]
    titles = [axis.get_title(loc="left") for axis in curves.figure4(one.results["thresholds"], found).axes[:3]]
    assert titles == ["person: limit ≥ 90 %", "rider: limit 70 – 80 %", "car: limit unknown"]
    matplotlib.pyplot.close("all")


def test_removed_instances_stand_above_the_papers(study):
    styled = tables.removed_instances(study.data, removing(person=60, car=30))
    table = study.data.instances("synthetic", "train")
    single = prune(table, {"person": 0.6, "car": 0.3})[~table["crowd"]]
    assert styled.data.loc["all", ["before", "after"]].tolist() == [len(single), single.sum()]
    assert cells_of(styled)[-5:] == ["137,255", "70,744", "48.5", "–", "–"]


def test_the_matrix_has_a_row_per_run_and_a_dash_where_it_has_no_result(one):
    own = one.results["table1"]
    real = own[own["trained on"] == "Cityscapes"]
    other_name = real.assign(**{"trained on": "basic"})
    there = real[real["evaluated on"] == "Cityscapes"].assign(**{"evaluated on": "BDD100K"})
    lost = real.head(1).assign(run="lost", ap=np.nan, **{"trained on": "lost", "evaluated on": np.nan, "class": np.nan})
    table = tables.matrix(pd.concat([own, other_name, there, lost])).data
    assert table.index.tolist() == ["Synscapes", "Cityscapes", "lost"]
    assert table.columns.tolist() == ["Cityscapes", "Synscapes", "BDD100K"]
    expected = cell(own, **{"trained on": "Cityscapes"})
    text = f"{expected['ap']:.1f} ({shown(expected)})"
    assert (table.loc["Cityscapes", "Cityscapes"], table["BDD100K"].tolist()) == (text, ["–", text, "–"])
    diverged = own.assign(ap=np.nan, low=np.nan, high=np.nan, state="diverged at iteration 3")
    assert (tables.matrix(diverged).data == "–").all(axis=None)


def test_claims_show_sign_and_interval(one):
    judged = verdicts.verdicts(one.results, one.draws)
    judged.loc[0, ["verdict", "ours", "low", "high"]] = [OPEN, np.nan, np.nan, np.nan]
    judged.loc[1, "verdict"] = FAILS
    html = verdicts.table(judged).to_html()
    for sign, verdict in (("✓", HOLDS), ("✗", FAILS), ("?", OPEN)):
        assert html.count(f">{sign} {verdict}<") == (judged["verdict"] == verdict).sum() > 0
    assert f">{judged['low'][5]:.1f} – {judged['high'][5]:.1f}<" in html
    assert "effective learning rate (decades apart)<" in html
    assert 'class="row_heading' not in html


def test_whole_ap_has_its_decimal_and_zero_no_sign(one):
    """A row of whole APs is no row of counts; counts among other numbers are."""
    results = one.results["steps"]
    whole = results.assign(**{name: results[name].round() * 0 - 0.01 for name in ("ap", "low", "high")})
    cells = cells_of(tables.per_class(whole))
    assert set(cells) == {"0.0"}
    shown = cells_of(tables.table5(whole))
    assert shown[:3] == ["0.0", "0.0 – 0.0", "11.8"]
    mixed = tables.shown(pd.DataFrame({"count": pd.Series([1200, 2.0], dtype=object)}))
    assert cells_of(mixed) == ["1,200", "2.0"]
    table = pd.DataFrame({"a": [1.25, np.nan], "b": ["x", "y"], "c": [1000, 2], "d": [2.0, -0.04]})
    assert cells_of(tables.shown(table)) == ["1.2", "x", "1,000", "2.0", "–", "y", "2", "0.0"]
    assert 'class="row_heading' not in tables.shown(table).to_html()
    assert 'class="row_heading' in tables.shown(pd.DataFrame({"a": [1]}, index=["named"])).to_html()


def test_instance_counts_are_shown_as_counts():
    table = pd.DataFrame({"category": [0, 0, 2], "area_px": [5, 8, 9], "crowd": [False, False, True]})
    data = SimpleNamespace(instances=lambda domain, split: table, images=lambda domain, split: range(4))
    styled = tables.instance_counts(data)
    assert styled.data.columns.tolist() == ["Synscapes", "Cityscapes"]
    shown = dict(zip(styled.data.index, cells_of(styled)[::2], strict=True))
    assert [shown[name] for name in ("person", "car", "all", "per image", "groups")] == ["2", "0", "2", "0.5", "1"]


def test_runs_have_their_names_in_the_experiment():
    names = (("a", "1"), ("b", "2"), ("c", "1"))
    planned = [SimpleNamespace(name=name, spec=SimpleNamespace(run_id=run)) for name, run in names]
    rows = pd.DataFrame({"run": ["1", "2"], "state": ["done", "planned"], "removal": [{}, {}]})
    rows[["trained on", "seed", "iterations", "epochs"]] = 0
    table = tables.runs(SimpleNamespace(table=lambda planned: rows), planned).data
    assert table["name"].to_dict() == {"1": "a", "2": "b"}
    assert list(table) == ["name", "trained on", "seed", "iterations", "epochs", "state"]


def cells_of(styled):
    return re.findall('class="data[^>]*>(?:<a [^>]*>)?([^<]*)', styled.to_html())


def test_a_number_leads_to_the_run_that_it_is_of(trained):
    """A link to its row in the list of runs at the end of a page; all ids where the mouse is on it."""
    first, second = (f'<a href="#{key}" title="run {key}">' for key in trained.results["run"].unique())
    html = tables.table1(trained.results).to_html()
    assert [html.count(link) for link in (first, second)] == [2, 2]
    listed = tables.runs(trained.study.store, trained.planned).to_html()
    assert all(f'id="{key}"' in listed for key in trained.results["run"])
    seeds = pd.concat([trained.results, trained.results.assign(seed=1, run="0123456789ab")])
    assert f'{first[:-2]} 0123456789ab">' in tables.table1(seeds).to_html()


def test_boundary_ap_is_counted_from_the_stored_predictions(study, store, run_id="0123456789ab"):
    """Exact masks have all of it, masks without their contour keep AP and lose it; a seed without any is left out."""
    on = next(on for on in study.data.evaluation_sets() if on.name == "Cityscapes")
    images = cityscapes.read_images(on.root, "val")
    for name, width in (("exact", 1), ("eroded", 3)):
        detections = []
        for row in images.itertuples():
            frame = png.read(row.instance_path)
            ids = [i for i in np.unique(frame).tolist() if i // 1000 in LABEL_IDS]
            masks = [cv2.erode((frame == i).astype(np.uint8), np.ones((width, width))) > 0 for i in ids]
            classes = [LABEL_IDS.index(i // 1000) for i in ids]
            detections.append(from_masks(row.image_id, frame.shape, classes, [0.9] * len(ids), masks))
        write_predictions(store.run(name + run_id).evaluation(on.name) / "predictions.parquet", detections)
    bars = pd.DataFrame({"approach": ["a", "b"], "evaluated on": on.name, "ap": [100.0, 50.0]})
    bars["run"] = [f"exact{run_id} diverged", f"eroded{run_id}"]
    table = tables.boundary(bars, SimpleNamespace(data=study.data, store=store)).data.reset_index()
    assert table["boundary AP"][0] == table["kept (%)"][0] == 100 and table["95 % interval"][0] == "100.0 – 100.0"
    assert 0 <= table["boundary AP"][1] < 100 and table["kept (%)"][1] == 2 * table["boundary AP"][1]
