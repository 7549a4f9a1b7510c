"""The training set of a run: which images, and which of their instances, from the tables of both domains."""

from dataclasses import dataclass

import pandas as pd

from synlib.curation.mix import choose
from synlib.curation.prune import prune
from synlib.spec import DataSpec

Tables = tuple[pd.DataFrame, pd.DataFrame]  # of the images and of the instances of a domain
IGNORED = -1  # category of a removed instance whose pixels are neither an object nor background


@dataclass(frozen=True)
class TrainingSet:
    """Rows of the image tables and of the instance tables, without groups; ``emptied``: number of images without any.

    With ``removed_as: background`` (the paper), removed instances are left out: their pixels are learned as background.
    With ``ignore`` (an ablation) they stay, ``crowd`` True and ``category`` :data:`IGNORED`: neither learned nor
    punished, and not counted as instances of an image.
    """

    images: pd.DataFrame
    instances: pd.DataFrame
    emptied: int


def compose(spec: DataSpec, real: Tables | None = None, synthetic: Tables | None = None) -> TrainingSet:
    """Mix (section 4.2) and prune (section 4.1) as ``spec`` says.

    ``real`` and ``synthetic`` are of the ``train`` split, None where the spec takes no image of the domain. Removal
    fractions hold for the synthetic images chosen, not for the whole pool. Groups (``crowd``) are dropped, as
    Detectron2 drops ``iscrowd=1``: they are always background.

    Raises ValueError when a domain lacks images that the spec asks for, or when ``emptied: drop`` leaves no image.
    """
    images, instances = [], []
    for domain, tables in {"real": real, "synthetic": synthetic}.items():
        pool, rows = tables or (None, None)
        ids = choose(() if pool is None else pool["image_id"], getattr(spec, domain), seed=spec.seed, domain=domain)
        if not ids:
            continue
        rows = rows[rows["image_id"].isin(ids) & ~rows["crowd"]]
        if domain == "synthetic":
            keep = prune(rows, spec.removal)
            ignored = rows.assign(crowd=~keep, category=rows["category"].mask(~keep, IGNORED))
            rows = ignored if spec.removed_as == "ignore" else rows[keep]
        images.append(pool.set_index("image_id", drop=False).loc[ids])
        instances.append(rows)
    images, instances = pd.concat(images, ignore_index=True), pd.concat(instances, ignore_index=True)
    filled = _keys(images).isin(_keys(instances[~instances["crowd"]]))
    if spec.emptied == "drop" and not filled.any():
        raise ValueError(f"none of the {len(images)} images chosen has an instance left: lower `removal`, or keep them")
    if spec.emptied == "drop":
        images = images[filled]
        instances = instances[_keys(instances).isin(_keys(images))]
    return TrainingSet(images, instances, int((~filled).sum()))


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["dataset", "image_id"]])
