"""From a profile's data source to one Cityscapes-format tree for each domain: drawn, harmonised, fingerprinted."""

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

import toyscapes
from scapes import cityscapes, instances
from scapes.cityscapes import nearby
from scapes.synthetic import SYNTHETIC, split_ids
from synlib.curation.harmonize import harmonize_dataset
from synlib.profile import Profile
from synlib.section import expanded
from synlib.spec import EvaluationSet
from toyscapes.writers import MANIFEST as TOY_MANIFEST

DOMAINS = ("synthetic", "real")
NAMES = {"real": "Cityscapes", "synthetic": "Synscapes"}
FIELDS = {"real": "data.cityscapes", "synthetic": "data.synthetic.root"}  # of the profile, with a domain's folder
WRITERS = {"synscapes": toyscapes.write_synscapes, "urbansyn": toyscapes.write_urbansyn}
STREETS = {"bdd100k": ("BDD100K", 0.6), "vistas": ("Vistas", 1.9)}
"""Layout of other streets that are drawn -> name, and gap of its look, which is neither domain's."""


class StudyData:
    """Where the data of a study lie, and their tables, each read once: do not change them in place.

    ``raw``: domain -> the data set as it is distributed; ``roots``: domain -> Cityscapes-format tree, which
    :meth:`make` makes. Both only have the domains that the profile names. ``others``: name -> such a tree of streets
    that are only evaluated on; ``streets``: the layout of each that is drawn -> its tree.
    """

    def __init__(self, profile: Profile) -> None:
        self.source, folder = profile.data, profile.data_dir
        self.cache_dir, self.min_area_px = folder / "tables", self.source.min_area_px
        synthetic, toys = self.source.synthetic, self.source.toyscapes
        named = {"synthetic": synthetic.root, "real": self.source.cityscapes}
        drawn = {"synthetic": folder / synthetic.format, "real": folder / "cityscapes"} if toys else {}
        self.drawn = {domain: path for domain, path in drawn.items() if not named[domain]}
        self.raw = self.drawn | {domain: Path(path) for domain, path in named.items() if path}
        self.roots = {domain: self.raw[domain] for domain in DOMAINS if domain in self.raw}
        self.harmonizes = "synthetic" in self.roots and synthetic.format != "cityscapes"
        if self.harmonizes:
            self.roots["synthetic"] = folder / f"{synthetic.format}-harmonized"
        splits = synthetic.split
        if "synthetic" in self.drawn and not splits:
            train, val = toys.synthetic.train, toys.synthetic.val
            splits = {"train": [1, train], "val": [train + 1, train + val]}
        self.splits = split_ids(splits)
        others, drawn = self.source.also_evaluate_on, STREETS if toys and toys.streets else {}
        self.streets = {} if others else {layout: folder / f"{layout}-harmonized" for layout in drawn}
        self.others = {name: Path(path) for name, path in others.items()}
        self.others |= {STREETS[layout][0]: root for layout, root in self.streets.items()}
        # A notebook asks often, and 20,000 images take seconds
        cached = map(functools.cache, (self._count, self._images, self._instances, self._fingerprint))
        self.counts, self.images, self.instances, self.fingerprint = cached

    @property
    def ready(self) -> bool:
        """Whether both domains are there, drawn and harmonised; ids of runs do not depend on other streets."""
        marks = [path / TOY_MANIFEST for path in self.drawn.values()]
        marks += [self.roots["synthetic"] / cityscapes.MANIFEST] if self.harmonizes else []
        return len(self.roots) == len(DOMAINS) and all(mark.exists() for mark in marks)

    def _count(self, domain: str) -> Mapping[str, int]:
        """Split -> number of images, also of what is still to be made."""
        source, root = self.source.synthetic, self.roots.get(domain)
        if domain in self.drawn:
            return dict(self.source.toyscapes.real) if domain == "real" else {s: len(i) for s, i in self.splits.items()}
        if domain == "synthetic" and self.harmonizes:
            if manifest := cityscapes.read_manifest(root):
                return manifest["number_of_images"]
            images = SYNTHETIC[source.format].read_images(self.raw[domain], source.variant, self.splits)
            return images["split"].value_counts().to_dict()
        return {split: len(cityscapes.LAYOUT.scan(root, split)[0]) if root else 0 for split in ("train", "val")}

    def check(self) -> None:
        """Raise FileNotFoundError unless the profile names a data set, and each that it names has images."""
        for domain in self.raw or DOMAINS:
            if not sum(self.counts(domain).values()):
                root = str(self.raw.get(domain, ""))
                found = f"found no images in {root!r}, expected the folder of the data set"
                raise FileNotFoundError(f"{FIELDS[domain]}: {found}{root and nearby(root)}")
        for name, root in self.source.also_evaluate_on.items():
            if not cityscapes.LAYOUT.scan(root, "val")[0]:
                found = f"found no images of val in {root!r}, expected a tree that `python -m synlib harmonize` wrote"
                raise FileNotFoundError(f"data.also_evaluate_on.{name}: {found}{nearby(root)}")

    def make(self) -> None:
        """Draw and harmonise what is not there yet."""
        source, toys = self.source.synthetic, self.source.toyscapes
        size = {"height": toys.height, "width": toys.width, "seed": toys.seed} if toys else {}
        if "real" in self.drawn:
            toyscapes.write_cityscapes(self.drawn["real"], **dict(toys.real), gap=toys.gap, **size)
        if "synthetic" in self.drawn:
            WRITERS[source.format](self.drawn["synthetic"], **dict(toys.synthetic), **size)
        if self.harmonizes:
            how = {"dataset": source.format, "variant": source.variant, "policy": source.policy, "splits": self.splits}
            harmonize_dataset(self.raw["synthetic"], self.roots["synthetic"], **how, cache_dir=self.cache_dir)
        for name, root in self.streets.items():
            toyscapes.write_streets(raw := root.with_name(name), name, val=toys.streets, gap=STREETS[name][1], **size)
            harmonize_dataset(raw, root, dataset=name, cache_dir=self.cache_dir)

    def _images(self, domain: str, split: str) -> pd.DataFrame:
        """Image table of a split; ``domain``, here and below, may be a name of ``others``."""
        return cityscapes.read_images((self.roots | self.others)[domain], split)

    def _instances(self, domain: str, split: str) -> pd.DataFrame:
        """Instance table of a split, counted by all cores at first, and kept on disk."""
        return instances.instance_table(self.images(domain, split), self.cache_dir)

    def _fingerprint(self, domain: str, split: str) -> str:
        """Of the content of a split."""
        return checked_fingerprint(self.images(domain, split), self.cache_dir)

    def evaluation_sets(self) -> tuple[EvaluationSet, ...]:
        """The ``val`` splits of the domains that have one, named as in the paper's tables, and of ``others``."""
        own = [NAMES[domain] for domain in self.roots if self.counts(domain).get("val")]
        return tuple(self.evaluation_set(name) for name in (*own, *self.others))

    def evaluation_set(self, name: str, split: str = "val") -> EvaluationSet:
        """A split of ``Cityscapes``, ``Synscapes``, one of ``others``, or of the Cityscapes-format tree at a path.

        Raises FileNotFoundError without such a split, ValueError if ``name`` is neither a name nor a folder.
        """
        domains = {NAMES[domain]: domain for domain in self.roots} | {other: other for other in self.others}
        if key := domains.get(name):
            root, data, own = (self.roots | self.others)[key], self.fingerprint(key, split), name
        elif name and (root := Path(expanded(name)).resolve()).is_dir():
            data = checked_fingerprint(cityscapes.read_images(root, split), self.cache_dir)
            own = f"{root.name}-{data[:8]}"  # never the name of one of the study's own sets
        else:
            raise ValueError(f"evaluation set {name!r}: expected {' or '.join(domains)}, or the folder of a data set")
        name = own if split == "val" else f"{own}-{split}"
        return EvaluationSet(name=name, root=str(root), data=data, split=split, min_area_px=self.min_area_px)


def checked_fingerprint(images: pd.DataFrame, cache_dir: Path) -> str:
    """Of the images, after a look at some label maps: ids in another numbering are told before anything is trained."""
    for path in filter(None, images["instance_path"].iloc[:: max(1, len(images) // 4)]):
        cityscapes.read_instance_ids(path)
    return instances.fingerprint(images, cache_dir)
