"""The paper "Boosting Instance Segmentation with Synthetic Data", and only the paper: its sections, figures, claims.

``paper``, ``spec``, ``profile``: published numbers, what a run is, how large a study is. ``curation``: section 3.2
(harmonise) and section 4 (prune, mix). ``runs``: a run from spec to result. ``pointrend``: Detectron2's PointRend, the
only folder that imports torch. ``study``: the experiments as runs. ``report``: figures, tables, claims.

What does not need the paper to be understood lives in the libraries ``scapes``, ``seeded_rcnn`` and ``toyscapes``.
"""

__version__ = "0.1.0"
