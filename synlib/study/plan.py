"""Which runs an experiment of the paper needs: pure functions of the profile and the data's fingerprints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synlib.spec import DataSpec, RunSpec
from synlib.study.profile import Profile


@dataclass(frozen=True)
class Planned:
    """A run and its part in an experiment: ``name`` is its label there, such as the training set's in Table 1."""

    experiment: str
    name: str
    spec: RunSpec


def table1(profile: Profile, fingerprints: dict[str, str], seeds: Sequence[int]) -> list[Planned]:
    """Table 1 (section 3.3): the baseline trained on each domain alone, with equally many images."""
    amounts = {"Synscapes": {"synthetic": profile.baseline_images}, "Cityscapes": {"real": profile.baseline_images}}
    return [
        Planned("table1", name, baseline(profile, fingerprints, seed, **amount))
        for name, amount in amounts.items()
        for seed in seeds
    ]


def baseline(profile: Profile, fingerprints: dict[str, str], seed: int, *, real: int = 0, synthetic: int = 0) -> RunSpec:
    """The profile's baseline configuration on ``real`` + ``synthetic`` images; ``seed`` draws images and weights alike."""
    data = DataSpec(
        real=real,
        synthetic=synthetic,
        real_fingerprint=fingerprints.get("real", ""),
        synthetic_fingerprint=fingerprints.get("synthetic", ""),
        seed=seed,
    )
    return RunSpec(
        model=profile.model,
        data=data,
        schedule=profile.schedule,
        input=profile.input,
        init=profile.init,
        batch_size=profile.batch_size,
        seed=seed,
    )


EXPERIMENTS: dict[str, Callable[..., list[Planned]]] = {"table1": table1}
NOTEBOOKS: dict[str, tuple[str, ...]] = {"01_harmonization": ("table1",)}
"""Notebook -> the experiments whose runs it shows."""
