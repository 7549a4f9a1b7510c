"""From a profile's data source to two Cityscapes-format trees: draw (toyscapes), harmonise, and fingerprint."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import toyscapes
from scapes import cityscapes, instances
from synlib.curation.harmonize import harmonize_dataset
from synlib.curation.prune import prune
from synlib.curation.rider_rule import Policy
from synlib.curation.sizes import size_distribution
from synlib.profile import Profile
from synlib.spec import EvaluationSet
from toyscapes.writers import MANIFEST as TOY_MANIFEST

DOMAINS = ("synthetic", "real")
NAMES = {"real": "Cityscapes", "synthetic": "Synscapes"}
HARMONIZED = "synscapes-harmonized"


@dataclass(frozen=True)
class StudyData:
    """Where the data of a study lie.

    ``roots``: domain -> Cityscapes-format tree; ``raw_synthetic``: Synscapes as distributed.
    """

    roots: dict[str, Path]
    raw_synthetic: Path
    cache_dir: Path
    min_area_px: int
    _tables: dict[tuple[str, str, str], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def images(self, domain: str, split: str) -> pd.DataFrame:
        """Image table of a split, read once."""
        return self._once("images", domain, split, lambda: cityscapes.read_images(self.roots[domain], split))

    def instances(self, domain: str, split: str) -> pd.DataFrame:
        """Instance table of a split, counted once and kept."""
        images = self.images(domain, split)
        table = functools.partial(instances.instance_table, images, cache_dir=self.cache_dir)
        return self._once("instances", domain, split, table)

    def _once(self, kind: str, domain: str, split: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """What ``read`` gives at the first call. A notebook asks often; 20,000 images take seconds."""
        if (kind, domain, split) not in self._tables:
            self._tables[kind, domain, split] = read()
        return self._tables[kind, domain, split].copy()

    def training_instances(self) -> dict[str, pd.DataFrame]:
        """Instance tables of both training splits, by the data sets' names."""
        return {NAMES[domain]: self.instances(domain, "train") for domain in DOMAINS}

    def size_distribution(self, removal: float | Mapping[str, float] = 0.0) -> pd.DataFrame:
        """How large the training instances of both domains are, and the synthetic ones after ``removal`` (section 4.1).

        See :func:`synlib.curation.sizes.size_distribution` for the columns.
        """
        frames = []
        for domain in DOMAINS:
            table = self.instances(domain, "train")
            keep = prune(table, removal) if removal and domain == "synthetic" else None
            frames.append(size_distribution(table, self.images(domain, "train"), keep))
        return pd.concat(frames, ignore_index=True)

    def manifest(self) -> dict[str, Any]:
        """What harmonisation wrote down about the synthetic data set."""
        return cityscapes.read_manifest(self.roots["synthetic"])

    def fingerprint(self, domain: str, split: str = "train") -> str:
        """Of a split's content."""
        return instances.fingerprint(self.images(domain, split))

    def evaluation_sets(self) -> tuple[EvaluationSet, ...]:
        """The ``val`` splits of both domains, named as in the paper's tables."""
        return tuple(self.evaluation_set(NAMES[domain]) for domain in DOMAINS)

    def evaluation_set(self, name: str, split: str = "val") -> EvaluationSet:
        """A split of ``Cityscapes``, ``Synscapes``, or of the Cityscapes-format tree at the path ``name``.

        Raises FileNotFoundError if there is no such split, ValueError if ``name`` is neither a name nor a folder.
        """
        roots = {NAMES[domain]: root for domain, root in self.roots.items()}
        if name not in roots and not (name and Path(name).is_dir()):
            raise ValueError(f"evaluation set {name!r}: expected {' or '.join(roots)}, or the folder of a data set")
        root = roots.get(name) or Path(name).resolve()
        data = instances.fingerprint(cityscapes.read_images(root, split))
        own = name if name in roots else f"{root.name}-{data[:8]}"  # never the name of one of the study's own sets
        return EvaluationSet(
            name=own if split == "val" else f"{own}-{split}",
            root=str(root),
            data=data,
            split=split,
            min_area_px=self.min_area_px,
        )

    def evaluation_images(self, on: EvaluationSet) -> pd.DataFrame:
        """Image table of an evaluation set."""
        return cityscapes.read_images(on.root, on.split)


def existing(profile: Profile, folder: Path) -> StudyData | None:
    """The data of ``profile`` if :func:`prepare` has made them ready, else None; nothing is made."""
    real, raw = _sources(profile, folder)
    complete = [cityscapes.read_manifest(folder / HARMONIZED)]
    if profile.data.toyscapes:
        complete += [(tree / TOY_MANIFEST).exists() for tree in (real, raw)]
    return _study_data(profile, folder) if all(complete) else None


def prepare(profile: Profile, folder: Path) -> StudyData:
    """Make the data of ``profile`` ready under ``folder``; what is there already is not made again.

    Raises FileNotFoundError or ValueError when a data set is missing or not what its format says.
    """
    real, raw = _sources(profile, folder)
    splits = None
    if toy := profile.data.toyscapes:
        size = {"height": toy.height, "width": toy.width, "seed": toy.seed}
        toyscapes.write_cityscapes(real, train=toy.real.train, val=toy.real.val, gap=toy.gap, **size)
        toyscapes.write_synscapes(raw, train=toy.synthetic.train, val=toy.synthetic.val, **size)
        last = toy.synthetic.train + toy.synthetic.val
        splits = {"train": range(1, toy.synthetic.train + 1), "val": range(toy.synthetic.train + 1, last + 1)}
    else:
        for name, value in (("cityscapes", profile.data.cityscapes), ("synscapes", profile.data.synscapes)):
            if not value or not Path(value).is_dir():
                raise FileNotFoundError(
                    f"profile {profile.name}: data.{name} is {value!r}, expected the folder of the data set;"
                    f" name it in the profile or on the command line"
                )
    variant = profile.data.synscapes_variant
    harmonize_dataset(raw, folder / HARMONIZED, policy=Policy(), variant=variant, splits=splits)
    return _study_data(profile, folder)


def _sources(profile: Profile, folder: Path) -> tuple[Path, Path]:
    """Where Cityscapes and Synscapes lie as distributed."""
    if profile.data.toyscapes:
        return folder / "cityscapes", folder / "synscapes"
    return Path(profile.data.cityscapes).resolve(), Path(profile.data.synscapes).resolve()


def _study_data(profile: Profile, folder: Path) -> StudyData:
    real, raw = _sources(profile, folder)
    return StudyData({"real": real, "synthetic": folder / HARMONIZED}, raw, folder / "tables", profile.data.min_area_px)
