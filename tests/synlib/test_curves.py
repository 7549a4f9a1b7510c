"""Figures 1 and 3 to 6 from made-up results: what is in the artists, and that each can be redrawn from its CSV."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.lines import Line2D

from scapes.ap import precision_recall
from scapes.labels import CLASSES
from scapes.match import PREDICTION, TRUTH, Records, read_records, write_records
from synlib import paper
from synlib.report import curves, figures, tables
from synlib.report.figures import removal_sample
from synlib.report.limits import limits
from synlib.report.style import DOMAIN_COLORS
from synlib.runs.store import RunStore
from synlib.spec import ScheduleSpec
from synlib.study.study import Study
from tests.fake_results import RATES, FakeStudy

BASELINE = ScheduleSpec()


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def line(axis, label) -> Line2D:
    (found,) = [item for item in axis.get_lines() if item.get_label() == label]
    return found


def band(collection):
    """x -> (low, high) of a filled band."""
    vertices = collection.get_paths()[0].vertices
    return {x: tuple(sorted(set(vertices[np.isclose(vertices[:, 0], x), 1].round(9)))) for x in set(vertices[:, 0])}


def means(results, factor, on, name="mean"):
    chosen = results[(results["class"] == name) & (results["evaluated on"] == on)]
    return chosen.groupby(factor)[["ap", "low", "high"]].mean()


def test_figure4_draws_each_class_with_its_band_and_limit(one):
    results = one.results["thresholds"]
    found = limits(results, one.draws)
    figure = curves.figure4(results, found)
    assert len(figure.axes) == 9
    for name, axis in zip([*CLASSES, "mean"], figure.axes, strict=True):
        expected = means(results, "threshold", "Synscapes", name)
        ap = line(axis, "AP")
        np.testing.assert_allclose(ap.get_xdata(), expected.index)
        np.testing.assert_allclose(ap.get_ydata(), expected["ap"])
        assert band(axis.collections[0])[40] == pytest.approx(tuple(expected.loc[40, ["low", "high"]]))
        limit, below, *interval = found.set_index("class").loc[name, ["limit", "below", "low", "high"]]
        (shade,) = [patch for patch in axis.patches if patch.get_label() == "limit: in here"]
        drawn = shade.get_extents().transformed(axis.transData.inverted())
        assert drawn.intervalx.tolist() == pytest.approx([limit, below])
        assert line(axis, "limit: 95 % interval").get_xdata().tolist() == interval
        assert f"limit {limit:.0f} – {below:.0f} %" in axis.get_title(loc="left")
        if name != "mean":
            assert line(axis, "limit: in the paper").get_xdata()[0] == paper.LIMITS[name]


def test_figure4_with_a_class_missing(one):
    results = one.results["thresholds"]
    found = limits(results, one.draws)
    found.loc[found["class"] == "rider", ["limit", "low", "high"]] = np.nan
    results = results.assign(ap=results["ap"].mask(results["class"] == "train"))
    axes = curves.figure4(results[results["class"] != "bus"], found).axes
    found_titles = [axis.get_title(loc="left") for axis in axes]
    assert [title.split(":")[0] for title in found_titles] == [*CLASSES, "mean"]
    assert "rider: limit unknown" in found_titles
    points = [len(line(axis, "AP").get_xdata()) for axis in axes]
    assert points == [0 if name in ("train", "bus") else 10 for name in (*CLASSES, "mean")]


def records(thirds_found: int) -> Records:
    """One image with cars of 10, 20, ... 90 px, of which the largest ``thirds_found`` thirds are found."""
    truths, predictions = np.zeros(9, TRUTH), np.zeros(9, PREDICTION)
    truths["category"] = predictions["category"] = CLASSES.index("car")
    truths["area_px"] = predictions["area_px"] = np.arange(10, 100, 10)
    truths["evaluated"], predictions["score"], predictions["iou"] = True, 0.9, 1.0
    predictions["truth"] = np.arange(9)
    counts = np.array([[9, 3 * thirds_found]])
    return Records(np.array(["a"]), np.array([1]), truths, predictions[9 - 3 * thirds_found :], counts)


def stored(results, factor, thirds_found, root):
    """Results, and a store with records of their runs, by the value of ``factor``."""
    store, results = RunStore(root), results.assign(run=results["run"].str.replace("/", "-"))
    for run, on, value in results[["run", "evaluated on", factor]].drop_duplicates().itertuples(index=False):
        write_records(store.run(run).evaluation(on) / "records.npz", records(thirds_found[value]))
    return results, store


def test_ap_by_size_comes_from_the_records_of_the_runs(one, tmp_path):
    results = one.results["thresholds"].query("threshold in [0, 50, 90]")
    results, store = stored(results, "threshold", {0: 3, 50: 2, 90: 1}, tmp_path)
    figure = curves.figure4_sizes(results, store)
    small, medium, large = [item.get_xydata() for item in figure.axes[0].get_lines() if len(item.get_xydata())]
    assert large.tolist() == [[0, 100], [50, 100], [90, 100]]
    assert medium[:, 1].tolist() == [100, 100, 0] and small[:, 1].tolist() == [100, 0, 0]
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["small: up to 30 px", "medium: up to 60 px", "large: up to 90 px"]
    assert set(figure.tables["figure4_sizes"]["run"]) == set(results["run"])
    assert curves.figure4_sizes(results.iloc[:0], store).tables["figure4_sizes"].empty


def test_what_to_remove_draws_ap_its_interval_and_sizes(one, tmp_path):
    found = {"nothing": 3, "smallest": 2, "smallest, ignored": 2, "random": 1, "occlusion": 1}
    figure = curves.what_to_remove(*stored(results := one.results["what_to_remove"], "removed", found, tmp_path))
    assert figure.tables["what_to_remove"].query("size == 'medium'")["ap"].tolist() == 6 * [100] + 4 * [0]
    for axis, on in zip(figure.axes, ("Synscapes", "Cityscapes"), strict=True):
        expected, segments = means(results, "removed", on).loc[list(found)], axis.collections[-1].get_segments()
        np.testing.assert_allclose([segment[:, 0] for segment in segments], expected[["low", "high"]])
        points = next(item for item in axis.get_lines() if item.get_marker() == "D").get_xydata()
        np.testing.assert_allclose(points, np.stack([expected["ap"], [segment[0, 1] for segment in segments]], 1))


def test_figure5_draws_both_curves_and_the_papers_marks(one):
    results = one.results["ratios"]
    (axis,) = curves.figure5(results).axes
    for on, color in DOMAIN_COLORS.items():
        expected = means(results, "real_percent", on)
        curve = line(axis, f"on {on}")
        np.testing.assert_allclose(curve.get_xydata(), np.stack([expected.index, expected["ap"]], 1))
        assert curve.get_color() == color
        marks = line(axis, f"paper's Table 1, on {on}")
        assert marks.get_ydata().tolist() == [paper.TABLE1["Synscapes"][on], paper.TABLE1["Cityscapes"][on]]
    assert {curve.get_linestyle() for curve in axis.get_lines()} > {"-", "--"}
    assert len({curve.get_marker() for curve in axis.get_lines()}) == 2


def test_bands_of_several_seeds_are_their_range():
    results = FakeStudy((0, 1, 2)).results["ratios"]
    figure = curves.figure5(results)
    ap = results.query("`class` == 'mean' and `evaluated on` == 'Cityscapes' and real_percent == 50")["ap"]
    assert band(figure.axes[0].collections[0])[50] == pytest.approx((ap.min(), ap.max()))
    (legend,) = figure.legends
    assert "band: range over 3 seeds" in [text.get_text() for text in legend.get_texts()]
    (legend,) = curves.figure5(results[results["seed"] == 0]).legends
    assert "band: 95 % interval" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("effective", [False, True])
def test_figure6_draws_a_curve_a_momentum_and_crosses(one, effective):
    results = one.results["fine_tuning"]
    (axis,) = curves.figure6(results, ScheduleSpec(base_lr=0.04), effective=effective).axes
    assert axis.get_xscale() == "log"
    crosses = [item for item in axis.get_lines() if item.get_marker() == "X"]
    for momentum, rates in RATES.items():
        expected = means(results[results["momentum"] == momentum], "learning_rate", "Cityscapes")["ap"].dropna()
        divisor = 1 - momentum if effective else 1
        curve = line(axis, f"momentum {momentum:g}")
        np.testing.assert_allclose(curve.get_xdata(), expected.index / divisor)
        np.testing.assert_allclose(curve.get_ydata(), expected)
        assert len(expected) == len(rates) - 1
        (cross,) = [item for item in crosses if item.get_color() == curve.get_color()]
        np.testing.assert_allclose(cross.get_xdata(), max(rates) / divisor)
        best = line(axis, f"paper: best for momentum {momentum:g}")  # a line: at no height that looks like an AP
        assert best.get_xdata() == pytest.approx([4 * paper.BEST_LEARNING_RATE[momentum] / divisor] * 2)
        assert best.get_color() == curve.get_color()
    ends = [item.get_xdata()[0] for item in axis.get_lines() if item.get_label().startswith("paper: too slow")]
    assert ends == ([] if effective else [pytest.approx(0.0002), pytest.approx(0.08)])
    base = line(axis, "baseline (momentum 0.9)").get_xdata()[0]
    assert base == pytest.approx(0.4 if effective else 0.04)
    waiting = results["learning_rate"] == 0.006  # not trained yet: no cross
    results = results.assign(ap=results["ap"].mask(waiting), state=results["state"].mask(waiting, "planned"))
    lines = curves.figure6(results, BASELINE).axes[0].get_lines()
    assert sorted(x for item in lines if item.get_marker() == "X" for x in item.get_xdata()) == [0.02, 0.2]


def test_losses_are_those_of_the_last_training_and_end_where_a_run_diverged(tmp_path):
    store = RunStore(tmp_path)
    runs = {"good": [(9, 4), (19, 9), (19, 2), (29, 1)], "bad": [(9, 5), (12, 50)], "new": []}
    for name, losses in runs.items():
        rows = [{"iteration": iteration, "total_loss": loss, "lr": loss / 100} for iteration, loss in losses]
        how = "diverged" if name == "bad" else "stopped"
        store.run(name).write("failure.json", {"reason": f"{how} at iteration 13"})
        lines = map(json.dumps, [*rows, {"iteration": 40, "data_time": 0.1}])  # of an iteration without a loss
        (store.run(name).path / "metrics.json").write_text("\n".join(lines))
    figure = curves.losses([(f"lr {name}", name) for name in runs], store)
    loss, rate = figure.axes
    assert line(loss, "lr good").get_xydata().tolist() == [[10, 4], [20, 2], [30, 1]]
    assert line(rate, "lr good").get_ydata().tolist() == [0.04, 0.02, 0.01]
    assert (end := line(loss, "lr bad, diverged")).get_xydata().tolist() == [[10, 5], [13, 50]]
    assert (end.get_marker(), loss.get_yscale(), loss.get_title()) == ("X", "log", "without a loss: lr new")
    loss = curves.losses([("one", "good"), ("two", "good"), ("one", "none")], store).axes[0]  # of one run, of one name
    assert [line(loss, name).get_ydata().tolist() for name in ("one", "two")] == [[4, 2, 1]] * 2
    assert loss.get_title() == "without a loss: one"
    with pytest.raises(ValueError, match="runs: found 'mine', expected a run that has trained, with metrics"):
        curves.losses([("mine", "none")], store)
    with pytest.raises(ValueError, match="runs: found '', expected a run that has trained"):
        curves.losses([], store)
    (store.run("new").path / "metrics.json").write_text('{"iter')
    with pytest.raises(ValueError, match=r"new/metrics\.json: found Unmatched .*, expected a JSON object per line"):
        curves.losses([("mine", "new")], store)


def test_precision_and_recall_end_at_the_last_detection_with_a_mark_where_they_are_no_longer_sure(trained):
    names = [("one", trained.run.path.name), ("other", trained.planned[0].spec)]
    figure = curves.precision_recall(names, trained.study.store, "Synscapes")
    found = precision_recall(read_records(trained.run.evaluation("Synscapes") / "records.npz"))
    assert len(found) > 8
    for category, axis in enumerate(figure.axes):
        rows = found[found["category"] == category]
        drawn = line(axis, "one")
        np.testing.assert_array_equal(drawn.get_xydata(), rows[["recall", "precision"]])
        assert drawn.get_markevery() == ([(rows["score"] >= 0.5).sum() - 1] if (rows["score"] >= 0.5).any() else [])
        line(axis, "other")


def test_amounts_draws_ours_and_the_papers(one):
    results = one.results["amounts"]
    ours, published = curves.amounts(results).axes
    rows = means(results[results["added"] == 300], "iterations", "Cityscapes").reset_index()
    np.testing.assert_allclose(line(ours, "300").get_xydata(), rows[["iterations", "ap"]])
    np.testing.assert_allclose(line(published, "20,000").get_ydata(), [row[20_000] for row in paper.TABLE3.values()])
    assert len(published.get_lines()) == 6


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_figure1_draws_bars_with_intervals_and_the_papers_marks(seeds):
    study = FakeStudy(seeds)
    figure = figures.figure1(study.results)
    bars = figure.tables["figure1"]
    pipeline, axis = figure.axes
    assert {text.get_text() for text in pipeline.texts} > set(paper.FIGURE1)
    for on, container in zip(DOMAIN_COLORS, axis.containers[1::2], strict=True):
        rows = bars[bars["evaluated on"] == on].set_index("approach").loc[list(paper.FIGURE1)]
        np.testing.assert_allclose([bar.get_width() for bar in container], rows["ap"])
        segments = container.errorbar.lines[2][0].get_segments()
        np.testing.assert_allclose([segment[:, 0] for segment in segments], rows[["low", "high"]])
    marks = np.concatenate([item.get_xdata() for item in axis.get_lines() if item.get_marker() == "|"])
    assert set(marks) >= {35.7, 11.8, 40.9, 41.0, 39.6, 29.6, 14.2, 42.0}
    if len(seeds) > 1:
        rows = study.results["steps"].query("step == 'basic' and `class` == 'mean' and `evaluated on` == 'Cityscapes'")
        first = bars.query("approach == 'real-world training' and `evaluated on` == 'Cityscapes'").iloc[0]
        assert (first["low"], first["high"]) == (rows["ap"].min(), rows["ap"].max())
        assert set(first["run"].split()) == set(rows["run"])


@pytest.mark.parametrize("without", ["", "Synscapes"])
def test_figures_are_redrawn_from_their_tables(one, tmp_path, monkeypatch, without):
    """What is saved beside a figure is all that its function needs; also where a domain has no validation images."""
    results = {name: table[table["evaluated on"] != without] for name, table in one.results.items()}
    bars, found = figures.approaches(results), limits(results["thresholds"], one.draws)
    monkeypatch.setattr(figures, "approaches", lambda table: table)
    functions = {
        "figure1": (figures.figure1, bars),
        "figure4": (curves.figure4, results["thresholds"], found),
        "figure5": (curves.figure5, results["ratios"]),
        "figure6": (lambda table: curves.figure6(table, BASELINE), results["fine_tuning"]),
        "figure6_effective": (lambda table: curves.figure6(table, BASELINE, effective=True), results["fine_tuning"]),
        "table3_cost": (curves.amounts, results["amounts"]),
    }
    for name, (function, *own) in functions.items():
        figure = function(*own)
        assert figure.name == next(iter(figure.tables)) == name
        tables = []
        for name, table in figure.tables.items():
            table.to_csv(tmp_path / f"{name}.csv", index=False)
            tables.append(pd.read_csv(tmp_path / f"{name}.csv"))
        assert set(tables[0]["run"]) == set(figure.tables[figure.name]["run"])
        again = function(*tables)
        for first, second in zip(figure.axes, again.axes, strict=True):
            for a, b in zip(first.get_lines(), second.get_lines(), strict=True):
                np.testing.assert_allclose(np.asarray(a.get_ydata(), float), np.asarray(b.get_ydata(), float))


def test_a_study_saves_figures_with_their_tables_and_tables_as_csv_and_latex(one, tmp_path):
    of_folder = SimpleNamespace(profile=SimpleNamespace(figures_dir=tmp_path / "new"))
    results = one.results["thresholds"]
    figure = curves.figure4(results, limits(results, one.draws))
    assert Study.save(of_folder, figure) is figure
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"figure4.png", "figure4.pdf", "figure4.csv", "figure4_limits.csv"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "new" / "figure4.csv"), results)
    table = Study.save(of_folder, tables.table1(one.results["table1"])).data["Synscapes", "ours"]
    assert pd.read_csv(tmp_path / "new/table1.csv", header=[0, 1])["Synscapes", "ours"].tolist() == table.tolist()
    assert r"kept (\%)" in (tmp_path / "new/table1.tex").read_text()


def test_figures_of_the_data_carry_their_names(study):
    removal = {"person": 0.6, "car": 0.3}
    plain, pruned = figures.sizes(study.data), figures.sizes(study.data, removal)
    assert [figure.name for figure in (plain, pruned)] == ["sizes", "sizes_after_removal"]
    assert set(plain.tables["sizes"]["stage"]) == {"before"}
    table = pruned.tables["sizes_after_removal"].groupby(["domain", "stage", "class"])["instances"].sum()
    assert table["Synscapes", "after", "person"] < table["Synscapes", "before", "person"]
    drawn = (figures.glance, figures.figure2, figures.figure3)
    assert [function(study.data).name for function in drawn] == ["glance", "figure2", "figure3"]


def test_figure3_shows_what_is_left(study):
    image, instance_ids, kept = removal_sample(study.data)
    assert image.shape[:2] == instance_ids.shape
    assert list(kept) == paper.FIGURE3_THRESHOLDS == [0, 40, 60, 70, 80, 90]
    assert set(kept[0]) == set(np.unique(instance_ids[instance_ids >= 1000]))
    assert set(kept[90]) <= set(kept[40]) < set(kept[0])
    for axis, (threshold, chosen) in zip(figures.figure3(study.data).axes, kept.items(), strict=True):
        assert axis.get_title(loc="left") == f"{threshold} %: {len(chosen)} of {len(kept[0])} labels left"
        shown = axis.get_images()[0].get_array()
        changed = (np.asarray(shown) != image).any(-1)
        left = np.isin(instance_ids, chosen)
        assert not changed[~left].any()
        assert changed[left].mean() > 0.9
