"""The synthetic data sets that can be harmonised and verified. To add one, write its file and name it here."""

from scapes import synscapes, urbansyn
from scapes.numbered import NumberedDataset

SYNTHETIC: dict[str, NumberedDataset] = {dataset.name: dataset for dataset in (synscapes.DATASET, urbansyn.DATASET)}
