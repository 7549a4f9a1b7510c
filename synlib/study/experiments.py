"""The paper's experiments: each a function that yields runs as (name, spec, factors). Equal specs are one run."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from synlib.profile import Profile
from synlib.spec import DataSpec, RunSpec

COMMON = ("model", "input", "init", "precision", "batch_size", "schedule")  # what a run has from its profile


@dataclass(frozen=True)
class Planner:
    """Specs of one study and seed."""

    profile: Profile
    fingerprints: Mapping[str, str]  # of the training splits, by field of DataSpec
    seed: int  # draws images and weights alike
    grids = property(lambda self: self.profile.grids)

    def run(
        self, *, real: int = 0, synthetic: int = 0, removal: str | float = "off", epochs: float = 0, **changes: Any
    ) -> RunSpec:
        """The profile's baseline on ``real`` + ``synthetic`` images, with ``changes`` of fields of the spec.

        ``removal``: ``off``, ``on`` (chosen in section 4.1) or a fraction of each class. ``epochs`` 0: the baseline's.
        """
        profile = self.profile
        fractions = {"off": 0.0, "on": profile.grids.removal_fractions()}.get(removal, removal)
        data = DataSpec(real=real, synthetic=synthetic, removal=fractions, seed=self.seed, **self.fingerprints)
        if epochs:
            changes["schedule"] = profile.schedule.model_dump(exclude={"iterations"}) | {"epochs": epochs}
        common = {name: getattr(profile, name) for name in COMMON}
        return RunSpec(**common | {"data": data, "seed": self.seed} | changes)

    def mixed(self, added: int, epochs: float, removal: str = "on") -> RunSpec:
        """All real images and ``added`` synthetic ones (section 4.2)."""
        return self.run(real=self.profile.baseline_images, synthetic=added, removal=removal, epochs=epochs)

    def pretrained(self, removal: str) -> RunSpec:
        """Trained on synthetic images only, for long (section 4.3)."""
        images, epochs = self.grids.pretraining_images, self.grids.pretraining_epochs
        return self.run(synthetic=images, removal=removal, epochs=epochs)

    def fine_tuned(self, learning_rate: float, momentum: float, removal: str = "on") -> RunSpec:
        """Trained on the real images from the weights of :meth:`pretrained` (section 4.3)."""
        changes = self.grids.fine_tuning_schedule | {"base_lr": learning_rate, "momentum": momentum}
        schedule = self.profile.schedule.replace(**changes)
        initial = self.pretrained(removal).run_id
        return self.run(real=self.profile.baseline_images, schedule=schedule, init=f"run:{initial}")


Runs = Iterator[tuple[str, RunSpec, dict[str, Any]]]


def table1(planner: Planner) -> Runs:
    """Table 1 (section 3.3): the baseline trained on each domain alone, with equally many images."""
    images = planner.profile.baseline_images
    yield "Synscapes", planner.run(synthetic=images), {}
    yield "Cityscapes", planner.run(real=images), {}


def thresholds(planner: Planner) -> Runs:
    """Figure 4 (section 4.1): the baseline on synthetic images, without the smallest instances of each class."""
    for percent in planner.grids.thresholds:
        spec = planner.run(synthetic=planner.profile.baseline_images, removal=percent / 100)
        yield f"{percent:g} % removed", spec, {"threshold": percent}


def what_to_remove(planner: Planner) -> Runs:
    """Beyond the paper: as much of each class as chosen in section 4.1, but other instances, or ignored ones."""
    spec = planner.run(synthetic=planner.profile.baseline_images, removal="on")
    hows = {"nothing": {"removal": 0.0}, "smallest": {}, "smallest, ignored": {"removed_as": "ignore"}}
    hows |= {name: {"criterion": name} for name in planner.grids.removed_by}
    for name, how in hows.items():
        yield f"removed: {name}", spec.replace(data=spec.data.replace(**how)), {"removed": name}


def sampling(planner: Planner) -> Runs:
    """Beyond the paper: the images of mixing in random order, or real and synthetic ones in turn."""
    spec = planner.mixed(planner.grids.mixed_images, min(planner.grids.epochs))
    for how in ("shuffled", "balanced"):
        yield how, spec.replace(data=spec.data.replace(sampling=how)), {"sampling": how}


def ratios(planner: Planner) -> Runs:
    """Figure 5 (section 4.2): as many images as in the baseline, of which a share is real."""
    images = planner.profile.baseline_images
    for percent in planner.grids.ratios:
        real = int(images * percent / 100 + 0.5 + 1e-9)  # halves up
        spec = planner.run(real=real, synthetic=images - real, removal="on")
        yield f"{percent:g} % real", spec, {"real_percent": percent}


def amounts(planner: Planner) -> Runs:
    """Tables 3 and 4 (section 4.2): synthetic images added to all real ones, for several numbers of epochs."""
    for epochs, added in itertools.product(planner.grids.epochs, planner.grids.added_images):
        spec = planner.mixed(added, epochs)
        factors = {"epochs": epochs, "added": added, "iterations": spec.schedule.iterations}
        yield f"{added} added, {epochs:g} epoch{'s' * (epochs != 1)}", spec, factors


def pre_training(planner: Planner) -> Runs:
    """The first step of section 4.3, with and without removal."""
    for removal in ("off", "on"):
        yield f"pre-training, removal {removal}", planner.pretrained(removal), {"removal": removal}


def fine_tuning(planner: Planner) -> Runs:
    """Figure 6 (section 4.3): fine-tuning against learning rate and momentum."""
    for momentum, learning_rates in planner.grids.learning_rates.items():
        for learning_rate in learning_rates:
            factors = {"learning_rate": learning_rate, "momentum": momentum}
            yield f"lr {learning_rate:g}, momentum {momentum:g}", planner.fine_tuned(learning_rate, momentum), factors


def removal(planner: Planner) -> Runs:
    """Table 2: each approach with and without the removal of small instances."""
    grids = planner.grids
    for switch in ("off", "on"):
        for approach, spec in {
            "pre-training": planner.pretrained(switch),
            "mixing": planner.mixed(grids.mixed_images, grids.mixed_epochs, switch),
            "fine-tuning": planner.fine_tuned(grids.tuned_learning_rate, grids.tuned_momentum, switch),
        }.items():
            yield f"{approach}, removal {switch}", spec, {"approach": approach, "removal": switch}


def steps(planner: Planner) -> Runs:
    """Table 5 (section 4.3): the steps of the fine-tuning approach."""
    profile, baseline, grids = planner.profile, planner.profile.schedule, planner.grids
    for step, spec in {
        "basic": planner.run(real=profile.baseline_images),
        "3k": planner.run(synthetic=profile.baseline_images),
        "20k": planner.pretrained("off"),
        "pruned": planner.pretrained("on"),
        "fine-tuned": planner.fine_tuned(baseline.base_lr, baseline.momentum),
        "optimized": planner.fine_tuned(grids.tuned_learning_rate, grids.tuned_momentum),
    }.items():
        yield step, spec, {"step": step}


def other_network(planner: Planner) -> Runs:
    """Beyond the paper: Table 1 and mixing with another network."""
    model, grids = planner.grids.other_model, planner.grids
    mixed = planner.mixed(grids.mixed_images, grids.mixed_epochs)
    for name, spec, _ in (*table1(planner), ("mixed", mixed, {})):
        yield f"{model}: {name}", spec.replace(model=model), {"images": name}


_ALL = (table1, thresholds, what_to_remove, ratios, amounts, sampling, pre_training, fine_tuning, removal, steps,
        other_network)  # fmt: skip
EXPERIMENTS = {function.__name__: function for function in _ALL}
