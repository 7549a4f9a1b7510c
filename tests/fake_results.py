"""Tidy results as a study would give them: plausible numbers and bootstrap draws to match, for tests of reports."""

import numpy as np
import pandas as pd

from scapes.bootstrap import Draws
from scapes.labels import CLASSES

NAMES = (*CLASSES, "mean")
CLASS_FACTOR = np.array([0.9, 0.8, 1.6, 1.0, 1.4, 1.1, 0.6, 0.6])
THRESHOLDS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)
RATIOS = tuple(range(0, 101, 10))
RATES = {0.0: (0.0002, 0.002, 0.006, 0.02, 0.06, 0.2), 0.9: (0.00002, 0.0002, 0.0006, 0.002, 0.006, 0.02)}
REMOVED = {"nothing": 25, "smallest": 26, "smallest, ignored": 30, "random": 22, "occlusion": 24}
TABLE1 = {"Synscapes": 12, "Cityscapes": 28}
APPROACHES = {"pre-training": (31, 13), "mixing": (30, 33), "fine-tuning": (21, 31)}


class FakeStudy:
    """``results`` by experiment, and ``draws(run, on)``; run ids are experiment, name and seed joined by "/"."""

    def __init__(self, seeds=(0,), noise=0.6, resamples=100, flat_mean=False):
        """``flat_mean``: the mean over classes is exactly the AP asked for."""
        self.seeds, self.noise, self.resamples = seeds, noise, resamples
        self.factor = CLASS_FACTOR / (CLASS_FACTOR.mean() if flat_mean else 1)
        self.known: dict[tuple[str, str], Draws] = {}
        steps = {"basic": (9, 28), "3k": (25, 12), "20k": (31, 13), "pruned": (33, 13.5), "fine-tuned": (15, 30)}
        runs = {
            "table1": [(on, {}, 25 if on == "Synscapes" else 9, ap) for on, ap in TABLE1.items()],
            "thresholds": [_threshold(t) for t in THRESHOLDS],
            "ratios": [_ratio(r) for r in RATIOS],
            "what_to_remove": [(f"removed: {what}", {"removed": what}, ap, ap / 2) for what, ap in REMOVED.items()],
            "sampling": [(how, {"sampling": how}, 30, ap) for how, ap in (("shuffled", 30), ("balanced", 34))],
            "other_network": [(on, {"images": on}, 15, ap) for on, ap in (*TABLE1.items(), ("mixed", 33))],
            "amounts": [_amount(e, a) for e in (8, 12, 16) for a in (0, 300, 600)],
            "removal": [_removal(approach, switch) for approach in APPROACHES for switch in ("off", "on")],
            "fine_tuning": [_tuned(m, r) for m, rates in RATES.items() for r in rates],
            "steps": [(step, {"step": step}, *ap) for step, ap in (steps | {"optimized": (22, 32)}).items()],
        }
        self.results = {experiment: self.frame(experiment, rows) for experiment, rows in runs.items()}

    def draws(self, run, on):
        return self.known[run, on]

    def frame(self, experiment, runs):
        """``runs``: (name, factors, AP on Synscapes, AP on Cityscapes); an AP of None is a diverged run."""
        rows = []
        for name, factors, *aps in runs:
            for seed in self.seeds:
                for on, ap in zip(("Synscapes", "Cityscapes"), aps, strict=True):
                    rows.append(self._rows(experiment, name, seed, on, ap, factors))
        return pd.concat(rows, ignore_index=True)

    def _rows(self, experiment, name, seed, on, ap, factors):
        run = f"{experiment}/{name}/{seed}"
        common = {"experiment": experiment, "trained on": name, "run": run, "seed": seed, "evaluated on": on} | factors
        if ap is None:
            nothing = dict.fromkeys(("ap", "low", "high"), np.nan)
            return pd.DataFrame(common | {"state": "diverged at iteration 15", "class": NAMES} | nothing)
        own = np.random.default_rng(list((run + on).encode()))
        shared = np.random.default_rng(list(on.encode())).normal(0, 1.2, (self.resamples, 8))
        of_class = (ap if np.ndim(ap) else ap * self.factor) + own.normal(0, self.noise, 8)
        drawn = of_class + shared + own.normal(0, self.noise, (self.resamples, 8))
        value, drawn = (np.concatenate([part, part.mean(-1, keepdims=True)], -1) for part in (of_class, drawn))
        self.known[run, on] = Draws(value / 100, (drawn / 100).astype(np.float32), on)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        return pd.DataFrame(common | {"state": "done", "class": NAMES, "ap": value, "low": low, "high": high})


def _threshold(t):
    bends = np.where(np.array(CLASSES) == "person", 60, 30)
    fall = np.maximum(0, t - bends) / (100 - bends)
    ap = CLASS_FACTOR * 25 * (1 + 0.0005 * min(t, 30) - 0.7 * fall)
    return f"{t} % removed", {"threshold": t}, ap, ap * 0.5


def _ratio(r):
    return f"{r} % real", {"real_percent": r}, 26 - 0.08 * r - 8 * (r == 100), 13 + (r > 0) * 9 + 0.07 * r


def _amount(epochs, added):
    ap = 24 + 5 * (1 - np.exp(-added / 250)) + {8: -2, 12: 0.5, 16: 0}[epochs]
    factors = {"epochs": float(epochs), "added": added, "iterations": round(epochs * (300 + added) / 2)}
    return f"{added} added, {epochs} epochs", factors, 10 + added / 60, ap


def _removal(approach, switch):
    aps = (ap + 1.5 * (switch == "on") for ap in APPROACHES[approach])
    return f"{approach}, removal {switch}", {"approach": approach, "removal": switch}, *aps


def _tuned(momentum, rate):
    effective = rate / (1 - momentum)
    aps = (None, None) if effective > 0.15 else (20.0, max(3.0, 31 - 6 * np.log10(effective / 0.02) ** 2))
    return f"lr {rate:g}, momentum {momentum:g}", {"learning_rate": rate, "momentum": momentum}, *aps
