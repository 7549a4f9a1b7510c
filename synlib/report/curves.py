"""Curves: Figures 4 to 6, AP by size, Table 3 as a figure; losses, and precision against recall, of single runs.

Each figure is drawn from the results (:mod:`synlib.report.frames`) of the experiment that its docstring names. A line
is the mean over seeds, with a band as the legend says. The paper gives these figures as pictures only: thin lines and
hollow marks show what its text and tables state.
"""

import itertools
from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scapes.ap import ap_by_size, thirds
from scapes.ap import precision_recall as score_curves
from scapes.bootstrap import NAMES
from scapes.labels import CLASSES
from scapes.match import read_records
from synlib import paper
from synlib.report.frames import INTERVAL, MEAN, across_seeds, band, published
from synlib.report.limits import range_text
from synlib.report.mistakes import SURE
from synlib.report.style import DOMAIN_COLORS, PAPER, named, style
from synlib.runs.folder import RunDir
from synlib.runs.store import HOME, RunStore
from synlib.section import check
from synlib.spec import RunSpec, ScheduleSpec

LOOKS = cycler(  # of curves that may lie on one another: all are seen; of momenta 0 and 0.9 as in the paper
    color=["#e69f00", "#0072b2", "#009e73", "#cc79a7"], marker=list("so^D"), linestyle=["--", "-", ":", "-."],
    linewidth=[3, 1.5, 2.5, 1], markersize=[8, 5, 7, 4],
)  # fmt: skip


@style()
def figure4(results: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Figure 4 (section 4.1, ``thresholds``): AP by class against the share removed, and its :mod:`limits`."""
    table = across_seeds(results[results["evaluated on"] == "Synscapes"], ["threshold"], name=None)
    table = table.sort_values("threshold")
    last, found = table["threshold"].max(), limits.set_index("class")
    figure, axes = plt.subplots(3, 3, figsize=(9, 6.6), sharex=True, layout="constrained")
    for name, axis in zip(NAMES, axes.flat, strict=True):
        _curve(axis, table[table["class"] == name], "threshold", color=DOMAIN_COLORS["Synscapes"], label="AP")
        axis.set(xlim=(-3, max(93, last + 3)), ylim=(0, None))
        text = "limit unknown"
        if pd.notna(found.loc[name, "limit"]):
            limit, below, low, high = found.loc[name, ["limit", "below", "low", "high"]].astype(float)
            text = f"limit {range_text(limit, below)} %"
            below, high = (axis.get_xlim()[1] if np.isnan(end) else end for end in (below, high))
            axis.axvspan(limit, below, color="0.5", alpha=0.25, linewidth=0, zorder=1, label="limit: in here")
            look = {"color": "black", "linewidth": 2.5, "solid_capstyle": "butt", "label": f"limit: {INTERVAL}"}
            axis.plot([low, high], [0.03] * 2, transform=axis.get_xaxis_transform(), **look)
        if name != MEAN:
            axis.axvline(paper.LIMITS[name], **PAPER, zorder=1, label="limit: in the paper")
        axis.set_title(f"{name}: {text}", loc="left", fontsize=9)
    figure.supxlabel("smallest instances removed (% of each class)", fontsize=9)
    figure.supylabel("AP on Synscapes (%)", fontsize=9)
    _legend(figure, table)
    return named(figure, "figure4", figure4=results, figure4_limits=limits)


@style()
def figure4_sizes(results: pd.DataFrame, store: RunStore) -> Figure:
    """AP of :func:`scapes.ap.thirds` against the share removed (``thresholds``), from the runs' records."""
    import seaborn  # takes a second, also where none of its figures is drawn

    table = _by_size(results[results["evaluated on"] == "Synscapes"], store)
    labels = (table["size"] + ": up to " + table["up_to_px"].map("{:,} px".format)).rename("validation instances")
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    look = {"palette": "viridis_r" if len(table) else None, "markers": list("os^"), "dashes": False}
    seaborn.lineplot(table, x="threshold", y="ap", hue=labels, style=labels, ax=axis, errorbar=("pi", 100), **look)
    axis.set(xlabel="smallest instances removed (% of each class)", ylabel="AP on Synscapes (%)", ylim=(0, None))
    return named(figure, "figure4_sizes", figure4_sizes=table)


@style()
def what_to_remove(results: pd.DataFrame, store: RunStore) -> Figure:
    """Beyond the paper (``what_to_remove``): AP, its interval, and AP by size, for what was removed."""
    import seaborn  # takes a second, also where none of its figures is drawn

    done = results[(results["class"] == MEAN) & results["ap"].notna()]
    table = pd.concat([done.assign(size="all"), _by_size(done, store)], ignore_index=True)
    look = {"palette": ["black", *seaborn.color_palette("viridis_r", 3)], "markers": list("Dos^"), "dodge": 0.5}
    look |= {"kind": "point", "linestyle": "none", "errorbar": ("pi", 100), "markersize": 6}
    grid = seaborn.catplot(table, x="ap", y="removed", hue="size", col="evaluated on", height=3.2, aspect=1.4, **look)
    mean = across_seeds(done, ["removed"])
    mean["y"] = pd.factorize(mean["removed"])[0] - 0.25  # of the first of four marks
    for on, axis in grid.axes_dict.items():
        axis.hlines("y", "low", "high", data=mean[mean["evaluated on"] == on], color="black")
    grid.set_titles("on {col_name}").set_axis_labels(f"AP (%); line: {band(mean)}", "removed").set(xlim=(-1, None))
    return named(grid.figure, "what_to_remove", what_to_remove=table)


@style()
def figure5(results: pd.DataFrame) -> Figure:
    """Figure 5 (section 4.2, ``ratios``): AP on both data sets against the share of real images, the total fixed.

    The paper's marks: Table 1 at both ends (its synthetic end is without removal), and "almost doubles" up to 10 %.
    """
    table = across_seeds(results, ["real_percent"]).sort_values("real_percent")
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for (on, color), marker, line in zip(DOMAIN_COLORS.items(), "os", ("-", "--"), strict=True):
        look = {"color": color, "marker": marker, "linestyle": line, "label": f"on {on}"}
        _curve(axis, table[table["evaluated on"] == on], "real_percent", **look)
        ends = [paper.TABLE1[trained][on] for trained in ("Synscapes", "Cityscapes")]
        hollow = {"linestyle": "", "marker": marker, "color": color, "markerfacecolor": "none", "markeredgewidth": 0.9}
        axis.plot([0, 100], ends, **hollow, label=f"paper's Table 1, on {on}")
    start = paper.TABLE1["Synscapes"]["Cityscapes"]
    doubled = paper.FIRST_TENTH_GAIN * start
    axis.annotate("", (10, doubled), (0, start), arrowprops={"arrowstyle": "->", "color": PAPER["color"]})
    axis.text(11, doubled, "paper: “almost doubles”", color=PAPER["color"], fontsize=7)
    axis.set(xlabel="real images in the training set (%)", xticks=range(0, 101, 10), ylabel="AP (%)", ylim=(0, None))
    _legend(figure, table)
    return named(figure, "figure5", figure5=results)


@style()
def figure6(results: pd.DataFrame, baseline: ScheduleSpec, *, effective: bool = False) -> Figure:
    """Figure 6 (section 4.3, ``fine_tuning``): AP on Cityscapes against the learning rate, one curve per momentum.

    ``effective``: against lr / (1 - m). The paper's best rates, and where it says that fine-tuning is too slow or
    diverges, are drawn at their multiples of the ``baseline``'s rate. ``figure.tooltips``: as of ``widgets.Tooltips``.
    """
    rows = results[(results["evaluated on"] == "Cityscapes") & (results["class"] == MEAN)]
    factors = ["momentum", "learning_rate"]
    table = across_seeds(rows, factors).join(_runs_of_marks(rows), on=factors)
    table["x"] = table["learning_rate"] / (1 - table["momentum"]) ** effective
    unit = baseline.base_lr / paper.BASELINE["learning_rate"]
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained", subplot_kw={"xscale": "log"})
    figure.tooltips = {}
    for (momentum, marks), look in zip(table.groupby("momentum"), LOOKS(), strict=False):
        figure.tooltips |= _momentum_curve(axis, momentum, marks.sort_values("x"), look)
        if momentum in paper.BEST_LEARNING_RATE:
            best = unit * paper.BEST_LEARNING_RATE[momentum] / (1 - momentum) ** effective
            axis.axvline(best, **look | {"linewidth": 1, "marker": ""}, label=f"paper: best for momentum {momentum:g}")
    base = baseline.base_lr / (1 - baseline.momentum) ** effective
    axis.axvline(base, color="black", linestyle=":", linewidth=1, label=f"baseline (momentum {baseline.momentum:g})")
    if not effective:  # the text does not say for which momentum
        for end in (paper.TOO_SLOW_BELOW, paper.DIVERGES_ABOVE):
            axis.axvline(unit * end, **PAPER, zorder=1, label="paper: too slow, diverges")
    label = "effective learning rate  lr / (1 - momentum)" if effective else "learning rate"
    scaled = "" if unit == 1 else f"\nthe paper's rates × {unit:g}: our baseline's rate is {unit:g} times the paper's"
    axis.set(xlabel=label + scaled, ylabel="AP on Cityscapes (%)", ylim=(0, None))
    _legend(figure, table)
    name = "figure6_effective" if effective else "figure6"
    return named(figure, name, **{name: results})


@style()
def amounts(results: pd.DataFrame) -> Figure:
    """Table 3 (section 4.2, ``amounts``), ours and the paper's: AP on Cityscapes against iterations."""
    ours = across_seeds(results[results["evaluated on"] == "Cityscapes"], ["added", "epochs", "iterations"])
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axis, table, title in zip(axes, (ours, published()["amounts"]), ("ours", "paper"), strict=True):
        lines = table.sort_values("iterations").groupby("added")
        shades = plt.get_cmap("viridis")(np.linspace(0.15, 0.85, len(lines)))
        for (added, rows), color, marker in zip(lines, shades, itertools.cycle("osD^vP*X"), strict=False):
            _curve(axis, rows, "iterations", color=color, marker=marker, label=f"{added:,}")
        epochs = ", ".join(f"{value:g}" for value in sorted(table["epochs"].unique()))
        axis.set_title(title, loc="left")
        axis.set_xlabel(f"iterations (points of a line: {epochs} epochs)")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.locator_params(axis="x", nbins=5)
        axis.legend(fontsize=7, title="synthetic images added", title_fontsize=7)
    axes[0].set_ylabel("AP on Cityscapes (%)")
    return named(figure, "table3_cost", table3_cost=results)


@style()
def losses(runs: Collection[tuple[str, RunSpec | str]], store: RunStore) -> Figure:
    """Total loss and learning rate against iterations, from the ``metrics.json`` of ``runs``: (name, spec or id).

    A cross ends the line of a run that diverged. The title names runs without a loss; ValueError if there are no other.
    """
    tables = [_metrics(store.run(run)).assign(name=name) for name, run in runs]
    lacking = ", ".join(name for (name, _), rows in zip(runs, tables, strict=True) if rows.empty)
    check(any(map(len, tables)), lacking, "a run that has trained, with metrics.json", "runs")
    figure, axes = plt.subplots(2, 1, figsize=(7.5, 4.8), layout="constrained", sharex=True, height_ratios=[2, 1])
    colors = itertools.cycle(plt.color_sequences["petroff10"])  # told apart with colour blindness, too
    dashes = itertools.cycle(["--", ":", "-."])  # and in grey
    for rows, color in zip(filter(len, tables), colors, strict=False):
        line, marker, end = (next(dashes), "X", ", diverged") if rows["diverged"].any() else ("-", ".", "")
        look = {"color": color, "linestyle": line, "marker": marker, "markevery": [-1]}
        for axis, column in zip(axes, ("total_loss", "lr"), strict=True):
            axis.plot(rows["iterations"], rows[column], label=rows["name"].iloc[0] + end, **look)
    axes[0].set(yscale="log", ylabel="total loss (median of 20)", title=f"without a loss: {lacking}" * bool(lacking))
    axes[0].yaxis.set_minor_formatter(plt.LogFormatter())  # 2, 3, 4 within a decade
    axes[1].set(yscale="log", ylabel="learning rate", xscale="log", xlabel="iterations")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7.5, frameon=False)
    return named(figure, "losses", losses=pd.concat(tables))


@style()
def precision_recall(runs: Collection[tuple[str, RunSpec | str]], store: RunStore, on: str = HOME) -> Figure:
    """Precision against recall at overlap 0.5 by class, on the evaluation set ``on``, of ``runs``: (name, spec or id).

    From the surest detection on; a mark is at the last one with a score of :data:`.mistakes.SURE` or more.
    """
    check(len(runs) > 0, "none", "a run with a result", "runs")
    figure, axes = plt.subplots(2, 4, figsize=(9.5, 5), layout="constrained", sharex=True, sharey=True)
    found = [(name, score_curves(read_records(store.run(run).evaluation(on) / "records.npz"))) for name, run in runs]
    for (name, table), look in zip(found, LOOKS(), strict=False):
        for category, axis in enumerate(axes.flat):
            rows = table[table["category"] == category]
            marked = np.flatnonzero(rows["score"] >= SURE)[-1:].tolist()
            axis.plot(rows["recall"], rows["precision"], markevery=marked, label=name, **look)
            axis.set(title=CLASSES[category], xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1])
    figure.supxlabel(f"recall on {on}: share of instances that are found (mark: score {SURE})", fontsize=9)
    figure.supylabel("precision: share of detections that are right", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    tables = [table.assign(name=name) for name, table in found]
    return named(figure, "precision_recall", precision_recall=pd.concat(tables))


def _metrics(run: RunDir) -> pd.DataFrame:
    """``run``, ``iterations``, ``total_loss``, ``lr``, ``diverged``; what was trained twice is as it was last."""
    path = run.path / "metrics.json"
    try:
        table = pd.read_json(path, lines=True) if path.exists() else pd.DataFrame()
    except ValueError as error:
        raise ValueError(f"{path}: found {error}, expected a JSON object per line; delete the file") from error
    table = table.reindex(columns=["iteration", "total_loss", "lr"]).dropna()
    table = table.drop_duplicates("iteration", keep="last").sort_values("iteration")
    return table.assign(run=run.path.name, iterations=table.pop("iteration") + 1, diverged=run.has_diverged())


def _by_size(results: pd.DataFrame, store: RunStore) -> pd.DataFrame:
    """Mean AP (percent) of runs by ``size`` of instances; ``up_to_px``: the largest area of that size."""
    tables = []
    for _, row in results[(results["class"] == MEAN) & results["ap"].notna()].iterrows():
        records = read_records(store.run(row["run"]).evaluation(row["evaluated on"]) / "records.npz")
        bands = thirds(records)
        table = ap_by_size(records, bands).query("`class` == @MEAN").assign(**row.drop(["class", "ap", "low", "high"]))
        tables.append(table.assign(ap=100 * table["ap"], up_to_px=[high - 1 for _, high in bands.values()]))
    none = results.iloc[:0].drop(columns=["class", "low", "high"]).assign(size="", up_to_px="")
    return pd.concat(tables or [none], ignore_index=True)


def _curve(axis: Axes, rows: pd.DataFrame, x: str, **look) -> Line2D:
    """Draw the mean over seeds, and its band; ``rows`` without ``low`` (the paper's) have none."""
    rows = rows[rows["ap"].notna()]
    look = {"marker": "o", "markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 3} | look
    (line,) = axis.plot(rows[x], rows["ap"], **look)
    if "low" in rows:
        axis.fill_between(rows[x], rows["low"], rows["high"], color=look["color"], alpha=0.2, linewidth=0, zorder=2)
    return line


def _runs_of_marks(rows: pd.DataFrame) -> pd.Series:
    """What to say of a mark of Figure 6, by momentum and learning rate: one line per run."""
    lines = []
    for _, row in rows.iterrows():
        interval = "" if pd.isna(row["low"]) else f" ({row['low']:.1f} – {row['high']:.1f})"
        result = row["state"] if pd.isna(row["ap"]) else f"AP {row['ap']:.1f}{interval}"
        setting = f"learning rate {row['learning_rate']:g}, momentum {row['momentum']:g}"
        lines.append(f"run {row['run']}, seed {row['seed']:g}, {setting}, {result}")
    return rows.assign(runs=lines).groupby(["momentum", "learning_rate"])["runs"].agg("\n".join)


def _momentum_curve(axis: Axes, momentum: float, marks: pd.DataFrame, look: dict) -> dict[Line2D, list[str]]:
    """Draw a curve of Figure 6, and below crosses where runs diverged, in a row of its own; returns their tooltips."""
    trained, diverged = marks[marks["ap"].notna()], marks[marks["diverged"] > 0].assign(y=0.04 + 0.06 * momentum)
    curve = _curve(axis, trained, "x", label=f"momentum {momentum:g}", **look)
    label = f"momentum {momentum:g}, diverged" if len(diverged) else None
    cross = {"color": look["color"], "linestyle": "", "label": label}
    cross |= {"marker": "X", "markersize": 8, "markeredgecolor": "black", "markeredgewidth": 0.6, "zorder": 4}
    (crosses,) = axis.plot(diverged["x"], diverged["y"], transform=axis.get_xaxis_transform(), **cross)
    return {curve: trained["runs"].tolist(), crosses: diverged["runs"].tolist()}


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    """Above the panels, each of their labels once, with what the bands are."""
    pairs = [zip(*axis.get_legend_handles_labels()[::-1], strict=True) for axis in figure.axes]
    once = dict(itertools.chain.from_iterable(pairs))
    if table["low"].notna().any():
        once[f"band: {band(table)}"] = Line2D([], [], color="0.6", alpha=0.4, linewidth=6)
    look = {"ncols": min(3, -(-len(once) // 2)), "fontsize": 7.5, "frameon": False}
    figure.legend(once.values(), once.keys(), loc="outside upper center", **look)
