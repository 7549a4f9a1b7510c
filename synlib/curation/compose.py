"""The training set of a run: which images, and which of their instances, from the tables of both domains."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from synlib.curation.prune import prune
from synlib.section import check
from synlib.spec import DataSpec

Tables = tuple[pd.DataFrame, pd.DataFrame]  # of the images and of the instances of a domain
IGNORED = -1  # category of a removed instance whose pixels are neither an object nor background


class TrainingSet(NamedTuple):
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

    Raises ValueError when a domain lacks images that the spec asks for, or when no image has an instance.
    """
    images, instances = [], []
    alike = real is not None and synthetic is not None and real[0]["dataset"].isin(synthetic[0]["dataset"]).any()
    for domain, tables in {"real": real, "synthetic": synthetic}.items():
        pool, rows = tables or (None, None)
        ids = choose(() if pool is None else pool["image_id"], getattr(spec, domain), seed=spec.seed, domain=domain)
        if not ids:
            continue
        rows = rows[rows["image_id"].isin(ids) & ~rows["crowd"]]
        if domain == "synthetic":
            keep = prune(rows, spec.removal, spec.criterion, spec.seed)
            ignored = rows.assign(crowd=~keep, category=rows["category"].mask(~keep, IGNORED))
            rows = ignored if spec.removed_as == "ignore" else rows[keep]
        if alike:  # two trees of one data set: their images are told apart by its name
            pool, rows = (table.assign(dataset=table["dataset"] + f" ({domain})") for table in (pool, rows))
        images.append(pool.set_index("image_id", drop=False).loc[ids])
        instances.append(rows)
    images, instances = pd.concat(images, ignore_index=True), pd.concat(instances, ignore_index=True)
    filled = _keys(images).isin(_keys(instances[~instances["crowd"]]))
    check(filled.any(), f"none in {len(images)} images", "an instance to train on; lower `removal`, or see `verify`")
    if spec.emptied == "drop":
        images = images[filled]
        instances = instances[_keys(instances).isin(_keys(images))]
    return TrainingSet(images, instances, int((~filled).sum()))


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["dataset", "image_id"]])


def choose(ids: Iterable[str], wanted: int | tuple[str, ...], *, seed: int, domain: str) -> list[str]:
    """``wanted`` images of a pool without replacement (section 4.2), or exactly those of a tuple of ids.

    They are the first by a hash of (seed, domain, name): the choice does not depend on the order of the pool, and with
    the same seed more images of a domain contain every choice of fewer.

    Raises ``ValueError`` if the pool is smaller than the number asked for, lacks a given image, or lists one twice.
    """
    pool, what = list(ids), f"{domain} images"
    if isinstance(wanted, tuple):
        missing = sorted(set(wanted) - set(pool))
        check(not missing, missing[:5], f"some that exist; {len(missing)} of {len(wanted)} do not", what)
        return list(wanted)
    check(len(set(pool)) == len(pool), f"{len(pool) - len(set(pool))} twice", "each once", what)
    check(wanted <= len(pool), len(pool), f"at least {wanted}; choose fewer", what)
    return sorted(pool, key=lambda image: hashlib.sha256(f"{seed} {domain} {image}".encode()).digest())[:wanted]
