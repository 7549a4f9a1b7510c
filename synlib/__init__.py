"""The paper "Boosting Instance Segmentation with Synthetic Data", and only the paper: its sections, figures, claims.

What does not need the paper to be understood lives in the libraries ``scapes``, ``seeded_rcnn`` and ``toyscapes``.
"""

__version__ = "0.1.0"
