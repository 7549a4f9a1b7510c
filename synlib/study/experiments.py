"""The paper's experiments: each a method that yields runs as (name, spec, factors). Equal specs are one run."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from synlib.profile import Profile
from synlib.spec import DataSpec, RunSpec

COMMON = ("model", "input", "init", "precision", "batch_size", "schedule")  # what a run has from its profile
Runs = Iterator[tuple[str, RunSpec, dict[str, Any]]]


class Planner(NamedTuple):
    """Specs and experiments of one study and seed."""

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
        fractions = {"off": 0.0, "on": self.grids.removal_fractions()}.get(removal, removal)
        data = DataSpec(real=real, synthetic=synthetic, removal=fractions, seed=self.seed, **self.fingerprints)
        if epochs:
            changes["schedule"] = self.profile.schedule.model_dump(exclude={"iterations"}) | {"epochs": epochs}
        common = {name: getattr(self.profile, name) for name in COMMON}
        return RunSpec(**common | {"data": data, "seed": self.seed} | changes)

    def mixed(self, added: int, epochs: float, removal: str = "on") -> RunSpec:
        """All real images and ``added`` synthetic ones (section 4.2)."""
        return self.run(real=self.profile.baseline_images, synthetic=added, removal=removal, epochs=epochs)

    def pretrained(self, removal: str) -> RunSpec:
        """Trained on synthetic images only, for long (section 4.3)."""
        return self.run(synthetic=self.grids.pretraining_images, removal=removal, epochs=self.grids.pretraining_epochs)

    def fine_tuned(self, learning_rate: float, momentum: float, removal: str = "on") -> RunSpec:
        """Trained on the real images from the weights of :meth:`pretrained` (section 4.3)."""
        changes = self.grids.fine_tuning_schedule | {"base_lr": learning_rate, "momentum": momentum}
        schedule = self.profile.schedule.replace(**changes)
        initial = self.pretrained(removal).run_id
        return self.run(real=self.profile.baseline_images, schedule=schedule, init=f"run:{initial}")

    def table1(self) -> Runs:
        """Table 1 (section 3.3): the baseline trained on each domain alone, with equally many images."""
        yield "Synscapes", self.run(synthetic=self.profile.baseline_images), {}
        yield "Cityscapes", self.run(real=self.profile.baseline_images), {}

    def thresholds(self) -> Runs:
        """Figure 4 (section 4.1): the baseline on synthetic images, without the smallest instances of each class."""
        for percent in self.grids.thresholds:
            spec = self.run(synthetic=self.profile.baseline_images, removal=percent / 100)
            yield f"{percent:g} % removed", spec, {"threshold": percent}

    def what_to_remove(self) -> Runs:
        """Beyond the paper: as much of each class as chosen in section 4.1, but other instances, or ignored ones."""
        spec = self.run(synthetic=self.profile.baseline_images, removal="on")
        hows = {"nothing": {"removal": 0.0}, "smallest": {}, "smallest, ignored": {"removed_as": "ignore"}}
        hows |= {name: {"criterion": name} for name in self.grids.removed_by}
        for name, how in hows.items():
            yield f"removed: {name}", spec.replace(data=spec.data.replace(**how)), {"removed": name}

    def sampling(self) -> Runs:
        """Beyond the paper: the images of mixing in random order, or real and synthetic ones in turn."""
        spec = self.mixed(self.grids.mixed_images, min(self.grids.epochs))
        for how in ("shuffled", "balanced"):
            yield how, spec.replace(data=spec.data.replace(sampling=how)), {"sampling": how}

    def ratios(self) -> Runs:
        """Figure 5 (section 4.2): as many images as in the baseline, of which a share is real."""
        images = self.profile.baseline_images
        for percent in self.grids.ratios:
            real = int(images * percent / 100 + 0.5 + 1e-9)  # halves up
            spec = self.run(real=real, synthetic=images - real, removal="on")
            yield f"{percent:g} % real", spec, {"real_percent": percent}

    def amounts(self) -> Runs:
        """Tables 3 and 4 (section 4.2): synthetic images added to all real ones, for several numbers of epochs."""
        for epochs, added in itertools.product(self.grids.epochs, self.grids.added_images):
            spec = self.mixed(added, epochs)
            factors = {"epochs": epochs, "added": added, "iterations": spec.schedule.iterations}
            yield f"{added} added, {epochs:g} epoch{'s' * (epochs != 1)}", spec, factors

    def pre_training(self) -> Runs:
        """The first step of section 4.3, with and without removal."""
        for removal in ("off", "on"):
            yield f"pre-training, removal {removal}", self.pretrained(removal), {"removal": removal}

    def fine_tuning(self) -> Runs:
        """Figure 6 (section 4.3): fine-tuning against learning rate and momentum."""
        for momentum, learning_rates in self.grids.learning_rates.items():
            for learning_rate in learning_rates:
                factors = {"learning_rate": learning_rate, "momentum": momentum}
                yield f"lr {learning_rate:g}, momentum {momentum:g}", self.fine_tuned(learning_rate, momentum), factors

    def removal(self) -> Runs:
        """Table 2: each approach with and without the removal of small instances."""
        for switch in ("off", "on"):
            for approach, spec in {
                "pre-training": self.pretrained(switch),
                "mixing": self.mixed(self.grids.mixed_images, self.grids.mixed_epochs, switch),
                "fine-tuning": self.fine_tuned(self.grids.tuned_learning_rate, self.grids.tuned_momentum, switch),
            }.items():
                yield f"{approach}, removal {switch}", spec, {"approach": approach, "removal": switch}

    def steps(self) -> Runs:
        """Table 5 (section 4.3): the steps of the fine-tuning approach."""
        for step, spec in {
            "basic": self.run(real=self.profile.baseline_images),
            "3k": self.run(synthetic=self.profile.baseline_images),
            "20k": self.pretrained("off"),
            "pruned": self.pretrained("on"),
            "fine-tuned": self.fine_tuned(self.profile.schedule.base_lr, self.profile.schedule.momentum),
            "optimized": self.fine_tuned(self.grids.tuned_learning_rate, self.grids.tuned_momentum),
        }.items():
            yield step, spec, {"step": step}

    def other_network(self) -> Runs:
        """Beyond the paper: Table 1 and mixing with another network."""
        model, grids = self.grids.other_model, self.grids
        for name, spec, _ in (*self.table1(), ("mixed", self.mixed(grids.mixed_images, grids.mixed_epochs), {})):
            yield f"{model}: {name}", spec.replace(model=model), {"images": name}


EXPERIMENTS = ("table1", "thresholds", "what_to_remove", "ratios", "amounts", "sampling", "pre_training", "fine_tuning",
               "removal", "steps", "other_network")  # fmt: skip
