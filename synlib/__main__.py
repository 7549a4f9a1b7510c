"""The parts of the study that a script needs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scapes import cityscapes, files
from scapes.labels import CLASSES
from scapes.predictions import read_predictions
from scapes.synthetic import split_ids
from scapes.verify import summarize, verify_dataset
from synlib.cli import click, exit_code
from synlib.curation.harmonize import count_table, harmonize_dataset
from synlib.curation.rider_rule import DEFAULT_POLICY, POLICY_CHOICES, Policy
from synlib.profile import Profile, parse_settings
from synlib.section import check, expanded

LOCAL = {"callback": lambda context, parameter, path: path and Path(expanded(path))}  # a path of this machine
PROFILE = [
    click.Option(["--profile"], default="demo", help="whose data and devices to use"),
    click.Option(["--set", "settings"], multiple=True, metavar="NAME=VALUE",
                 help="a field of the profile: data.cityscapes, data.synthetic.root, data.folder, execution.device"),
]  # fmt: skip
STUDY = [*PROFILE, click.Option(["--runs"], default="", help="run folder (default: the profile's, or runs/)")]
ON = click.Option(["--on"], default="Cityscapes", **LOCAL, help="or Synscapes, or a Cityscapes-format folder")
PREDICTED = [click.Argument(["run"]), ON, click.Option(["--split"], default="val"), *STUDY]
SUBMITTED = [click.Argument(["run"]), ON, click.Option(["--split"], default="test"), *STUDY]
WEIGHTS = click.Option(["--initial-weights"], **LOCAL, help="checkpoint of a spec with `init: sha256:...`")
WORKERS = click.Option(["--workers"], type=click.IntRange(1), help="processes (default: one for each CPU core)")
FULL = click.Option(["--full"], is_flag=True, help="also check the number of images of the full data set")
PART = click.Option(["--part"], is_flag=True, help="a part of the data set is all that is wanted: no error")
SORT = click.Option(["--sort"], type=click.Choice(["run", "ap"]), default="run", help="ap: the highest first")
EXPERIMENT = click.Option(["--experiment"], help="only the profile's runs of this experiment, with their names in it")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="print JSON")
HARMONIZE = [
    click.Argument(["source"], **LOCAL),
    click.Argument(["target"], **LOCAL),
    click.Option(["--dataset"], default="synscapes"),
    click.Option(["--variant"], default="rgb", help="folder of images (Synscapes: rgb or rgb-2k)"),
    click.Option(["--split"], multiple=True, metavar="NAME=IDS", help="train='[1, 20000]', or a list of image ids"),
    click.Option(["--images"], type=click.Choice(["link", "copy"]), default="link"),
    WORKERS,
    *(
        click.Option([f"--{name}"], type=click.Choice(choices), default=getattr(DEFAULT_POLICY, name))
        for name, choices in POLICY_CHOICES.items()
    ),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0; 1 when it found or met something wrong, said on standard error; 2 for wrong usage."""
    return exit_code(lambda: commands.main(arguments, "python -m synlib", standalone_mode=False))


@click.group(help=__doc__, context_settings={"show_default": True})
def commands() -> None:
    """Commands import what takes long when they run: ``--help`` and wrong usage are answered at once."""


@commands.command(params=PROFILE)
def toyscapes(**profile: Any) -> None:
    """Draw the embedded data sets of a profile in their own formats, and harmonise them."""
    data = _study(**profile).data
    for name, folder in (data.raw | {"harmonised": data.roots["synthetic"]} | data.others).items():
        print(f"{name}: {folder}")


@commands.command(params=[click.Argument(["root"], **LOCAL), FULL, PART, JSON, WORKERS])
def verify(root: Path, as_json: bool, **how: Any) -> int:
    """Check a data set: files, sizes, ids, counts."""
    findings = verify_dataset(root, **how)
    if as_json:
        print(json.dumps(findings.to_dict("records"), indent=1))
    else:
        print(summarize(findings) if len(findings) else f"{root}: nothing wrong")
    return int("error" in set(findings["severity"]))


@commands.command(params=HARMONIZE)
def harmonize(source: Path, target: Path, **given: Any) -> None:
    """Write a Cityscapes-format copy of a data set: synscapes, urbansyn (section 3.2); bdd100k, vistas (their val)."""
    given["policy"] = Policy(**{name: given.pop(name) for name in POLICY_CHOICES})
    given["splits"] = split_ids(parse_settings(given.pop("split"), "--split"))
    print(count_table(harmonize_dataset(source, target, **given)).to_string())


@commands.command(params=[click.Argument(["spec"], **LOCAL), WEIGHTS, *STUDY])
def train(spec: Path, initial_weights: Path | None, **where: Any) -> None:
    """Train and evaluate the run that a YAML file describes; what it leaves out is the profile's baseline."""
    from synlib.runs import launch
    from synlib.study import plan

    study = _study(**where)
    run = study.load(spec, initial_weights)
    print(plan.text([plan.Planned("train", spec.name, run, {})], study.profile, study.store), flush=True)
    launch.train([run], study.store, study.execution().replace(initial_weights=str(initial_weights or "")))
    means = study.store.frame([run]).query("`class` == 'mean' or `class`.isna()").drop(columns="class")
    print(means.to_string(index=False, float_format="{:.1f}".format))


@commands.command(params=PREDICTED)
def evaluate(run: str, **where: Any) -> None:
    """AP of a finished run on a data set, with intervals."""
    study, data_set, _, _ = _predicted(run, **where)
    frame = study.store.frame([study.store.run(run).spec()])
    table = frame.loc[frame["evaluated on"] == data_set.name, ["class", "ap", "ap50", "low", "high"]]
    print(f"run {run} on {data_set.name}: AP in percent, low and high of its 95 % interval over the images")
    print(table.to_string(index=False, float_format="{:.1f}".format))


@commands.command(params=[click.Argument(["run"]), click.Argument(["other"]), *STUDY])
def compare(run: str, other: str, **where: Any) -> None:
    """How much more AP the run OTHER has than RUN, and the fields in which their specs differ."""
    from synlib.runs.store import RunStore

    table, fields = RunStore(_profile(**where).runs_dir).compare(run, other)
    print("AP in percent; more: of the second run, with its 95 % interval, paired over the images")
    print(table.to_string(float_format="{:.1f}".format), fields.to_string(), sep="\n\n")


@commands.command(params=[*PREDICTED, click.Argument(["folder"], **LOCAL)])
def coco(run: str, folder: Path, **where: Any) -> None:
    """Export truth and a run's predictions to FOLDER in COCO format, with COCO mask AP."""
    from scapes import exchange

    _, _, images, predictions = _predicted(run, **where)
    truth = exchange.coco_truth(images)
    detections = exchange.coco_predictions(images, read_predictions(predictions))
    files.write_json(folder / "truth.json", truth)
    files.write_json(folder / "predictions.json", detections)
    found = 100 * exchange.coco_ap(truth, detections)
    print("COCO mask AP in percent", found.to_string(float_format="{:.1f}".format), sep="\n")


@commands.command(params=[*SUBMITTED, click.Argument(["target"], **LOCAL)])
def submit(run: str, target: Path, **where: Any) -> None:
    """Pack a run's predictions for the Cityscapes test server as TARGET, a zip file."""
    from scapes.exchange import read_submission, write_submission

    _, _, images, predictions = _predicted(run, labelled=False, **where)
    write_submission(read_predictions(predictions), target, images)
    found = [category for item in read_submission(target, images) for category in item.category]
    print(f"{target}: {len(images)} images; read back, detections by class:")
    print(*(f"{name:14}{found.count(number)}" for number, name in enumerate(CLASSES)), sep="\n")


@commands.command(params=[*STUDY, EXPERIMENT, SORT, JSON])
def runs(as_json: bool, sort: str, experiment: str | None, **where: Any) -> None:
    """List the runs with their state, progress, AP and size."""
    from synlib.runs.slurm import queue_columns
    from synlib.runs.store import AP, RunStore, readable_size, shown
    from synlib.study.study import Study

    profile = _profile(**where)
    store = RunStore(profile.runs_dir)
    planned = Study(profile).planned(experiment, make=False) if experiment else None
    frame, jobs = store.table(planned), queue_columns(store)
    if planned:
        names = pd.Series([item.name for item in planned], [item.spec.run_id for item in planned])
        frame.insert(1, "name", frame["run"].map(names.groupby(level=0).agg(", ".join)))
    frame["bytes"] = [files.size_bytes(store.root / run) for run in frame["run"]]
    if len(jobs):
        frame = frame.merge(jobs, on="run", how="left")
    if sort == "ap":
        frame = frame.sort_values([name for name in frame if name.startswith(AP)], ascending=False)
    if as_json:
        print(json.dumps(frame.astype(object).where(frame.notna(), None).to_dict("records"), indent=1))
    elif frame.empty:
        print(f"{store.root}: no runs")
    else:
        print(shown(frame))
        print(f"{len(frame)} runs, {readable_size(frame['bytes'].sum())} in {store.root}")


@commands.command(params=[click.Argument(["run"], nargs=-1), *STUDY])
def cancel(run: tuple[str, ...], **where: Any) -> None:
    """Take the jobs of RUN..., or of all runs, out of a Slurm cluster's queue."""
    from synlib.runs import slurm
    from synlib.runs.store import RunStore

    store = RunStore(_profile(**where).runs_dir)
    lines = [f"run {run_id}: job {job.id} cancelled" for run_id, job in slurm.cancel(store, run).items()]
    print(*lines or [f"{store.root}: none of its runs has a job in the queue"], sep="\n")


def _profile(profile: str, settings: Sequence[str], runs: str = "") -> Profile:
    return Profile.load(profile).with_settings(parse_settings(settings) | ({"runs": runs} if runs else {}))


def _study(**where: Any) -> Any:
    from synlib.study.study import Study

    return Study.open(_profile(**where))


def _predicted(run: str, on: Path, split: str, labelled: bool = True, **where: Any) -> tuple[Any, Any, Any, Path]:
    """The study, the data set, its images, and the file of a run's predictions on it, made if it is not there."""
    check(not labelled or split != "test", split, "train or val: test has no public labels, use `submit`", "--split")
    study = _study(**where)
    data_set = study.data.evaluation_set(str(on), split)
    images = cityscapes.read_images(data_set.root, split)
    return study, data_set, images, study.predictions(run, data_set)


if __name__ == "__main__":
    sys.exit(main())
