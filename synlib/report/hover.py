"""Figure 6 as SVG whose marks say which run they are: no JavaScript, the same in JupyterLab and in a report."""

import html
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from synlib.report.curves import MOMENTUM_STYLES

WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 34, 44
OUTLINES = {
    "s": "M-4.5,-4.5h9v9h-9z",
    "o": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
    "^": "M0,-6L6,5H-6z",
    "D": "M0,-6L6,0L0,6L-6,0z",
}
MARKS = tuple((color, OUTLINES[marker]) for color, marker, _ in MOMENTUM_STYLES)
"""Colour and outline of the marks of rising momenta: those of Figure 6, told apart in colour and in grey."""
STYLE = """
.hover {display: flex; flex-wrap: wrap; gap: 10px}
.hover svg {max-width: 100%; height: auto; font: 12px sans-serif; background: #fff}
.hover .mark {outline: none; stroke: none}
.hover .mark circle {fill: transparent}
.hover .mark:hover circle, .hover .mark:focus circle {stroke: #000; stroke-width: 2}
.hover .tip {visibility: hidden; pointer-events: none}
.hover .mark:hover .tip, .hover .mark:focus .tip {visibility: visible}
"""


def learning_rate_html(results: pd.DataFrame, on: str = "Cityscapes") -> str:
    """AP against the learning rate, and against the effective one, lr / (1 - momentum); a line a momentum, over seeds.

    ``results``: the tidy frame of the experiment ``fine_tuning``, columns ``run``, ``seed``, ``learning_rate``,
    ``momentum``, ``evaluated on``, ``class``, ``ap``, ``state``, and ``low``, ``high`` if intervals are known. A mark a
    run; failed runs are crosses at the bottom. Raises ValueError if no row is the mean over classes on ``on``.
    """
    rows = results[(results["class"] == "mean") & (results["evaluated on"] == on)]
    if rows.empty:
        raise ValueError(f"results hold no mean AP on {on!r}; found {sorted(set(results['evaluated on'].dropna()))}")
    rows = rows.assign(effective=rows["learning_rate"] / (1 - rows["momentum"]))
    marks = dict(zip(sorted(rows["momentum"].unique()), itertools.cycle(MARKS), strict=False))
    panels = (
        _panel(rows, "learning_rate", "learning rate", on, marks),
        _panel(rows, "effective", "effective learning rate, lr / (1 - momentum)", on, marks),
    )
    return f'<div class="hover"><style>{STYLE}</style>{"".join(panels)}</div>'


def tip_of(row: pd.Series) -> list[str]:
    """The lines that describe a run."""
    lines = [
        f"run {row['run']}, seed {row['seed']:g}",
        f"learning rate {row['learning_rate']:g}, momentum {row['momentum']:g}",
    ]
    if not np.isfinite(row["ap"]):
        return [*lines, str(row["state"])]
    interval = f" ({row['low']:.1f} – {row['high']:.1f})" if np.isfinite(row.get("low", np.nan)) else ""
    return [*lines, f"AP {row['ap']:.1f}{interval}"]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from ``low`` to ``high``; at most seven, or the middle."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
    inside = [tick for tick in inside if f"{tick:e}"[0] == "1"] if len(inside) > 7 else inside
    return inside or [math.sqrt(low * high)]


def _panel(rows: pd.DataFrame, column: str, label: str, on: str, marks: dict) -> str:
    """One SVG picture: axes, a line and marks for each momentum."""
    low, high = rows[column].min() / 1.3, rows[column].max() * 1.3
    bottom, top = _range(rows["ap"].dropna())

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - bottom) / (top - bottom)

    x_ticks = {f"{tick:g}": x(tick) for tick in log_ticks(low, high)}
    parts = [_axes(x_ticks, {f"{tick:g}": y(tick) for tick in linear_ticks(bottom, top)}, label, on)]
    tips = []  # behind the marks in the file, hence above them in the picture
    for place, (momentum, (color, outline)) in enumerate(marks.items()):
        chosen = rows[rows["momentum"] == momentum]
        means = chosen.dropna(subset="ap").groupby(column)["ap"].mean()
        points = " ".join(f"{x(value):.1f},{y(ap):.1f}" for value, ap in means.items())
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(_mark(LEFT + 10 + 105 * place, 14, outline, color))
        parts.append(f'<text x="{LEFT + 20 + 105 * place}" y="18">momentum {momentum:g}</text>')
        for _, row in chosen.iterrows():
            done = np.isfinite(row["ap"])
            where = x(row[column]), y(row["ap"] if done else bottom)
            parts.append(_mark(*where, outline if done else "M-5,-5L5,5M-5,5L5,-5", color))
            tips.append(_tip(*where, tip_of(row)))
    title = html.escape(f"AP on {on} against the {label}")
    content = "".join(parts + tips)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{title}">{content}</svg>'


def linear_ticks(low: float, high: float) -> list[float]:
    """At most seven multiples of 1, 2 or 5 times a power of ten, from ``low`` to ``high``."""
    power = 10 ** math.floor(math.log10((high - low) / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 6)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(ap: pd.Series) -> tuple[float, float]:
    """What the vertical axis shows: the values and some room, nothing below 0."""
    if ap.empty:
        return 0.0, 1.0
    room = max(0.15 * (ap.max() - ap.min()), 0.5)
    return max(0.0, ap.min() - room), ap.max() + room


def _axes(x_ticks: Mapping[str, float], y_ticks: Mapping[str, float], label: str, on: str) -> str:
    """Grid lines, ticks (text -> place in px) and names of both axes."""
    parts = []
    for text, place in y_ticks.items():
        parts.append(f'<path d="M{LEFT},{place:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<path d="M{LEFT},{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#888888"/>')
    for text, place in x_ticks.items():
        parts.append(f'<path d="M{place:.1f},{HEIGHT - BOTTOM}v5" stroke="#888888"/>')
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(label)}</text>')
    turned = f'transform="translate(12 {HEIGHT / 2}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>AP on {html.escape(on)} (%)</text>")
    return "".join(parts)


def _mark(x: float, y: float, outline: str, color: str) -> str:
    return f'<path d="{outline}" transform="translate({x:.1f} {y:.1f})" fill="{color}" stroke="{color}"/>'


def _tip(x: float, y: float, lines: Sequence[str]) -> str:
    """What a mark says when it is pointed at, or focused; a screen reader says it too."""
    width, tall = 7 * max(map(len, lines)) + 12, 16 * len(lines) + 8
    left = min(max(-width / 2, 2 - x), WIDTH - 2 - width - x)
    top = -tall - 12 if y > HEIGHT / 2 else 12
    texts = "".join(
        f'<text x="{left + 6:.1f}" y="{top + 15 + 16 * number}">{html.escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    box = f'<rect x="{left:.1f}" y="{top}" width="{width}" height="{tall}" fill="#fffff0" stroke="#888888"/>'
    return (
        f'<g class="mark" tabindex="0" transform="translate({x:.1f} {y:.1f})">'
        f'<title>{html.escape("; ".join(lines))}</title><circle r="8"/><g class="tip">{box}{texts}</g></g>'
    )
