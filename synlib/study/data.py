"""From a profile's data source to two Cityscapes-format trees: draw (toyscapes), harmonise, and fingerprint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import toyscapes
from scapes import cityscapes, instances
from synlib.curation.harmonize import harmonize_dataset
from synlib.curation.prune import prune, size_distribution
from synlib.curation.rider_rule import Policy
from synlib.profile import Profile
from synlib.spec import EvaluationSet
from toyscapes.writers import MANIFEST as TOY_MANIFEST

DOMAINS = ("synthetic", "real")
NAMES = {"real": "Cityscapes", "synthetic": "Synscapes"}
HARMONIZED = "synscapes-harmonized"


@dataclass(frozen=True)
class StudyData:
    """Where the data of a study lie, and their tables, each read once."""

    roots: dict[str, Path]  # domain -> Cityscapes-format tree
    raw_synthetic: Path  # Synscapes as distributed
    cache_dir: Path
    min_area_px: int
    _known: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False, compare=False)

    def images(self, domain: str, split: str) -> pd.DataFrame:
        """Image table of a split."""
        return self._once("images", domain, split, lambda: cityscapes.read_images(self.roots[domain], split))

    def instances(self, domain: str, split: str = "train") -> pd.DataFrame:
        """Instance table of a split, counted by all cores at first, and kept on disk."""
        images = self.images(domain, split)
        return self._once("instances", domain, split, lambda: instances.instance_table(images, self.cache_dir))

    def fingerprint(self, domain: str, split: str = "train") -> str:
        """Of the content of a split."""
        images = self.images(domain, split)
        return self._once("fingerprint", domain, split, lambda: instances.fingerprint(images, self.cache_dir))

    def _once(self, kind: str, domain: str, split: str, read: Callable[[], Any]) -> Any:
        """What ``read`` gave first: a notebook asks often, and 20,000 images take seconds."""
        if (kind, domain, split) not in self._known:
            self._known[kind, domain, split] = read()
        found = self._known[kind, domain, split]
        return found.copy() if isinstance(found, pd.DataFrame) else found

    def size_distribution(self, removal: float | Mapping[str, float] = 0.0) -> pd.DataFrame:
        """Of the training instances of both domains, and of the synthetic ones left after ``removal`` (section 4.1)."""
        frames = []
        for domain in DOMAINS:
            table = self.instances(domain)
            keep = prune(table, removal) if removal and domain == "synthetic" else None
            frames.append(size_distribution(table, self.images(domain, "train"), keep))
        return pd.concat(frames, ignore_index=True)

    def manifest(self) -> dict[str, Any]:
        """What harmonisation wrote down about the synthetic data set."""
        return cityscapes.read_manifest(self.roots["synthetic"])

    def evaluation_sets(self) -> tuple[EvaluationSet, ...]:
        """The ``val`` splits of both domains, named as in the paper's tables."""
        return tuple(self.evaluation_set(NAMES[domain]) for domain in DOMAINS)

    def evaluation_set(self, name: str, split: str = "val") -> EvaluationSet:
        """A split of ``Cityscapes``, ``Synscapes``, or of the Cityscapes-format tree at the path ``name``.

        Raises FileNotFoundError without such a split, ValueError if ``name`` is neither a name nor a folder.
        """
        domains = {NAMES[domain]: domain for domain in self.roots}
        if name in domains:
            root, data, own = self.roots[domains[name]], self.fingerprint(domains[name], split), name
        elif name and Path(name).is_dir():
            root = Path(name).resolve()
            data = instances.fingerprint(cityscapes.read_images(root, split), self.cache_dir)
            own = f"{root.name}-{data[:8]}"  # never the name of one of the study's own sets
        else:
            raise ValueError(f"evaluation set {name!r}: expected {' or '.join(domains)}, or the folder of a data set")
        name = own if split == "val" else f"{own}-{split}"
        return EvaluationSet(name=name, root=str(root), data=data, split=split, min_area_px=self.min_area_px)

    def evaluation_images(self, on: EvaluationSet) -> pd.DataFrame:
        """Image table of an evaluation set."""
        return cityscapes.read_images(on.root, on.split)


def existing(profile: Profile) -> StudyData | None:
    """The data of ``profile`` if :func:`prepare` has made them, else None."""
    data = _study_data(profile)
    ready = cityscapes.read_manifest(data.roots["synthetic"]) is not None
    if profile.data.toyscapes:
        ready &= all((tree / TOY_MANIFEST).exists() for tree in (data.roots["real"], data.raw_synthetic))
    return data if ready else None


def prepare(profile: Profile) -> StudyData:
    """Make the data of ``profile``, once; FileNotFoundError or ValueError if a data set is missing or not valid."""
    data, source = _study_data(profile), profile.data
    options = {"variant": source.synscapes_variant, "policy": Policy(**source.policy), "cache_dir": data.cache_dir}
    if toy := source.toyscapes:
        size = {"height": toy.height, "width": toy.width, "seed": toy.seed}
        toyscapes.write_cityscapes(data.roots["real"], **dict(toy.real), gap=toy.gap, **size)
        toyscapes.write_synscapes(data.raw_synthetic, **dict(toy.synthetic), **size)
        ids = range(1, toy.synthetic.train + toy.synthetic.val + 1)
        options["splits"] = {"train": ids[: toy.synthetic.train], "val": ids[toy.synthetic.train :]}
    for name in () if toy else ("cityscapes", "synscapes"):
        if not (value := getattr(source, name)) or not Path(value).is_dir():
            raise FileNotFoundError(
                f"profile {profile.name}: data.{name} is {value!r}, expected the folder of the data set;"
                f" name it in the profile or on the command line"
            )
    harmonize_dataset(data.raw_synthetic, data.roots["synthetic"], dataset=source.synthetic_format, **options)
    return data


def _study_data(profile: Profile) -> StudyData:
    folder, source = profile.data_dir, profile.data
    real, raw = folder / "cityscapes", folder / "synscapes"
    if not source.toyscapes:
        real, raw = Path(source.cityscapes).resolve(), Path(source.synscapes).resolve()
    return StudyData({"real": real, "synthetic": folder / HARMONIZED}, raw, folder / "tables", source.min_area_px)
