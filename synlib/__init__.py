"""The paper "Boosting Instance Segmentation with Synthetic Data"; what can be understood without it is in ``libs/``."""

__version__ = "0.1.0"
