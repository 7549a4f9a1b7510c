"""Section 4.1 as tables: where AP begins to fall, which thresholds follow from it, and what they remove."""

from collections.abc import Mapping

import pandas as pd

from scapes.bootstrap import NAMES
from scapes.labels import CLASSES
from synlib import paper
from synlib.curation.prune import prune, prune_report
from synlib.report import limits as rule
from synlib.report.frames import INTERVAL, MEAN, DrawsOf, stacked


def limits(results: pd.DataFrame, draws: DrawsOf, *, on: str = "Synscapes", level: float = 0.95) -> pd.DataFrame:
    """The removal threshold where AP of each class begins to fall (:func:`synlib.report.limits.limits`).

    ``results``, ``draws``: of the experiment ``thresholds``, see :mod:`synlib.report.frames`. Columns: ``class``
    ("mean" among them), ``limit``, ``low``, ``high`` (percent removed), ``level`` (AP in percent there), ``slope``
    (AP points lost for each percent removed after it), ``at_least``, ``high_at_least`` (whether limit and upper end may
    be larger), ``paper`` (its reading of Figure 4). From less than three thresholds, no limit can be said, and all
    numbers but the paper's are missing. For display: :func:`shown_limits`.

    Raises :class:`synlib.report.frames.Missing` if there are no results.
    """
    runs = stacked(results, draws, "threshold", on)
    if len(runs.values) < 3:
        table = pd.DataFrame({"class": NAMES}).reindex(columns=["class", "limit", "low", "high", "level", "slope"])
        table = table.assign(at_least=False, high_at_least=False)
    else:
        table = rule.limits(runs.values, 100 * runs.ap, 100 * runs.drawn, level=level)
    published = [float("nan") if name == MEAN else paper.limit(name) for name in table["class"]]
    return table.assign(paper=published)


def limit_text(row: pd.Series) -> tuple[str, str]:
    """A row of :func:`limits` as text: limit and interval, such as ``75`` and ``60 – ≥ 80``; dashes where unknown."""
    if pd.isna(row["limit"]):
        return "–", "–"
    ends = (("limit", "at_least"), ("high", "high_at_least"))
    limit, high = (f"{'≥ ' if row[flag] else ''}{row[name]:.0f}" for name, flag in ends)
    return limit, high if row["low"] == row["high"] else f"{row['low']:.0f} – {high}"


def shown_limits(limits: pd.DataFrame) -> pd.DataFrame:
    """:func:`limits` for display: limits that may be larger have a ≥, percentages are whole, AP has its decimals."""
    texts = [limit_text(row) for _, row in limits.iterrows()]
    columns = {
        "limit (% removed)": [limit for limit, _ in texts],
        INTERVAL: [interval for _, interval in texts],
        "limit in the paper": [f"{value:.0f}" if pd.notna(value) else "–" for value in limits["paper"]],
        "AP at the limit": limits["level"].to_list(),
        "AP lost for each 10 % after it": (10 * limits["slope"]).to_list(),
    }
    return pd.DataFrame(columns, index=pd.Index(limits["class"], name="class"))


def chosen_thresholds(limits: pd.DataFrame, chosen: Mapping[str, float]) -> pd.DataFrame:
    """Each class's limit beside the threshold in force from section 4.2 on: ours and the paper's, percent removed.

    ``limits``: :func:`limits`. ``chosen``: class -> percent, other classes 0 (``profile.grids.removal``).
    """
    table = limits[limits["class"] != MEAN].set_index("class")
    texts = [limit_text(row) for _, row in table.iterrows()]
    columns = {
        "limit": [limit for limit, _ in texts],
        INTERVAL: [interval for _, interval in texts],
        "limit in the paper": table["paper"],
        "removed from here on": [float(chosen.get(name, 0)) for name in table.index],
        "removed in the paper": [paper.limit(name) for name in table.index],
    }
    return pd.DataFrame(columns, index=table.index)


def removed_instances(instances: pd.DataFrame, chosen: Mapping[str, float]) -> pd.DataFrame:
    """What the thresholds ``chosen`` (class -> percent) remove: a row a class, "all", and the paper's "all".

    ``instances``: an instance table. Columns: instances ``before`` and ``after``, ``removed (%)``, ``largest removed
    (px)``, ``images left without``: images that had instances of the class and have none left.
    """
    report = prune_report(instances, prune(instances, {name: percent / 100 for name, percent in chosen.items()}))
    table = pd.DataFrame(
        {
            "before": report["before"],
            "after": report["after"],
            "removed (%)": 100 * report["removed_fraction"],
            "largest removed (px)": report["cutoff_px"],
            "images left without": report["emptied_images"],
        }
    ).loc[[*CLASSES, "all"]]
    before, after = (paper.INSTANCES[name] for name in ("Synscapes", "Synscapes pruned"))
    published = {"before": before, "after": after, "removed (%)": 100 * (1 - after / before)}
    parts = table, pd.DataFrame(published, index=["all, in the paper"])
    return pd.concat([part.astype(object) for part in parts])  # counts stay integers
