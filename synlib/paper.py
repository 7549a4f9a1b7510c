"""The published numbers, from "Boosting Instance Segmentation with Synthetic Data" (Poucin, Kraus, Simon, 2021).

All APs are percent: the mean over 8 classes and 10 overlaps, on the validation splits unless stated otherwise. The
paper gives no numbers for Figures 4 to 6: their values here are those that its text states, quoted where words matter.
"""

BATCH_SIZE = 8
BASELINE = {"learning_rate": 0.01, "momentum": 0.9, "iterations": 24_000, "steps": (18_000, 22_000)}
"""Section 3.3."""
IMAGES = {"Cityscapes": 2_975, "Synscapes": 20_000}
"""Number of training images (section 3.1); the first experiments use 2,975 of each data set."""

TABLE1 = {
    ("Synscapes", "Synscapes"): 31.6,
    ("Synscapes", "Cityscapes"): 12.9,
    ("Cityscapes", "Synscapes"): 11.8,
    ("Cityscapes", "Cityscapes"): 35.7,
}
"""(trained on, evaluated on) -> AP. 2,975 images and 24,000 iterations each (section 3.3)."""

TABLE2 = {
    ("pre-training", "Synscapes"): {"off": 38.6, "on": 42.0},
    ("pre-training", "Cityscapes"): {"off": 14.9, "on": 14.2},
    ("mixing", "Synscapes"): {"off": 38.6, "on": 41.0},
    ("mixing", "Cityscapes"): {"off": 38.9, "on": 40.9},
    ("fine-tuning", "Synscapes"): {"off": 28.7, "on": 29.6},
    ("fine-tuning", "Cityscapes"): {"off": 37.6, "on": 39.6},
}
"""(training approach, evaluated on) -> AP without and with instance removal (section 4.1)."""

TABLE3 = {
    33: {0: 32.6, 3_000: 37.6, 6_000: 38.4, 9_000: 38.8, 12_000: 38.9, 20_000: 40.3},
    50: {0: 36.2, 3_000: 37.9, 6_000: 38.9, 9_000: 39.3, 12_000: 39.3, 20_000: 40.9},
    66: {0: 35.7, 3_000: 37.2, 6_000: 37.7, 9_000: 39.3, 12_000: 38.9, 20_000: 40.5},
}
"""Epochs -> synthetic images added to the 2,975 real ones -> AP on Cityscapes (section 4.2)."""

TABLE4 = {
    20_000: (35.1, 0),
    40_000: (38.4, 6_000),
    60_000: (38.9, 6_000),
    80_000: (39.3, 9_000),
    100_000: (40.3, 20_000),
    150_000: (40.9, 20_000),
}
"""Maximum number of iterations -> (best AP on Cityscapes, number of synthetic images added) (section 4.2).

It follows from Table 3 (:func:`table3_iterations`), except for the first row: there, training for 50 epochs on 2,975
images takes only 18,594 iterations and reaches 36.2.
"""

TABLE5 = {
    "basic": {"Synscapes": 11.8, "Cityscapes": 35.7},
    "3k": {"Synscapes": 31.6, "Cityscapes": 12.9},
    "20k": {"Synscapes": 38.6, "Cityscapes": 14.9},
    "pruned": {"Synscapes": 42.0, "Cityscapes": 14.2},
    "fine-tuned": {"Synscapes": 19.7, "Cityscapes": 38.0},
    "optimized": {"Synscapes": 29.6, "Cityscapes": 39.6},
}
"""Step of the fine-tuning approach -> evaluated on -> AP (section 4.3). :data:`STEPS` has the paper's names."""
STEPS = {
    "basic": "Basic train on Cityscapes",
    "3k": "Pre-train on 3k Synscapes images",
    "20k": "+ Retrain with 20k Synscapes images",
    "pruned": "+ Remove non-valuable instances",
    "fine-tuned": "+ Fine-tune on Cityscapes",
    "optimized": "+ Optimize hyperparameters",
}
APPROACHES = {
    "pre-training": "Pre-training on Synscapes",
    "mixing": "Mixing Synscapes and Cityscapes",
    "fine-tuning": "Fine-tuning on Cityscapes",
}
"""How Table 2 calls the training approaches."""

INSTANCE_IMAGES = 2975
INSTANCES = {"Synscapes": 137_255, "Synscapes pruned": 70_744, "Cityscapes": 54_060}
"""Labelled instances in 2,975 training images (section 4.1).

These numbers mean that 48 % are removed; the text says "around 40%". Removing 60 % of the persons and 30 % of each
other class gives 48 % if 62 % of the instances are persons.
"""

FIGURE3_THRESHOLDS = (0, 40, 60, 70, 80, 90)
"""Percent of each class's instances removed in the panels of Figure 3 (section 4.1)."""
LIMITS = {"person": 60.0, "others": 30.0}
"""Figure 4, removal threshold in percent above which AP falls: "for most of them [...] around 30% but regarding
'person' class it is rather around 60%" (section 4.1)."""

FIRST_TENTH_GAIN = 2.0
"""Figure 5: AP on Cityscapes "almost doubles between 0% and 10%" real images (section 4.2): at most this factor."""

BEST_LEARNING_RATE = {0.0: 0.005, 0.9: 0.0005}
"""Figure 6: momentum -> learning rate with the highest AP on Cityscapes (section 4.3)."""
DIVERGES_ABOVE = 0.02
TOO_SLOW_BELOW = 0.00005
"""Figure 6: learning rates between which fine-tuning works (section 4.3).

That section lowers the learning rate "in the last 60k and last 20k iterations", which is impossible in a run of 24,000
iterations; 6,000 and 2,000 would be the baseline's steps.
"""

TEST_SET = {"baseline": 30.5, "mixing": 34.8}
"""AP on Cityscapes' test split, by its server (section 4.2)."""


def limit(name: str) -> float:
    """Figure 4: the removal threshold in percent above which AP of class ``name`` falls."""
    return LIMITS.get(name, LIMITS["others"])


def table3_iterations(epochs: float, added: int) -> float:
    """Iterations of a training in Table 3: ``epochs`` epochs on all real and ``added`` synthetic images."""
    return epochs * (IMAGES["Cityscapes"] + added) / BATCH_SIZE


def table3_rows() -> list[dict]:
    """:data:`TABLE3` in tidy form: one dictionary per run, with ``epochs``, ``added``, ``iterations`` and ``ap``."""
    return [
        {"epochs": epochs, "added": added, "iterations": table3_iterations(epochs, added), "ap": ap}
        for epochs, row in TABLE3.items()
        for added, ap in row.items()
    ]
