"""Helpers of the compendium "Boosting Instance Segmentation with Synthetic Data".

Five folders, one a step of the study; each imports only from itself, from the modules at the top, and from folders
above it: ``datasets`` (read, draw), ``curation`` (harmonise, prune, mix), ``evaluation`` (AP), ``pointrend``
(Detectron2; the only folder that imports torch), ``study`` (runs) and ``report`` (figures, tables).
"""

__version__ = "0.1.0"
