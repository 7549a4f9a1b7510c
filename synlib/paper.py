"""The published numbers, from "Boosting Instance Segmentation with Synthetic Data" (Poucin, Kraus, Simon, 2021).

All APs are percent: the mean over 8 classes and 10 overlaps, on the validation splits.
"""

TABLE1 = {
    ("Synscapes", "Synscapes"): 31.6,
    ("Synscapes", "Cityscapes"): 12.9,
    ("Cityscapes", "Synscapes"): 11.8,
    ("Cityscapes", "Cityscapes"): 35.7,
}
"""(trained on, evaluated on) -> AP. 2,975 images and 24,000 iterations each (section 3.3)."""

INSTANCE_IMAGES = 2975
INSTANCES = {"Synscapes": 137_255, "Synscapes pruned": 70_744, "Cityscapes": 54_060}
"""Labelled instances in 2,975 training images (section 4.1)."""
