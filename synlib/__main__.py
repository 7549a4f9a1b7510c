"""The parts of the study that a script needs: ``python -m synlib COMMAND --help``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from synlib.cli import exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0; 1 when it found or met something wrong, said on standard error; 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    draw = _add(commands, _toyscapes, "toyscapes", "draw the embedded data set of a profile in both data sets' formats")
    draw.add_argument("--profile", default="demo")
    draw.add_argument("--data-dir", default="", help="default: data/PROFILE")

    check = _add(commands, _verify, "verify", "check a data set: files, sizes, ids, counts")
    check.add_argument("root", type=Path)
    check.add_argument("--full", action="store_true", help="also check the number of images of the full data set")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    check.add_argument("--workers", type=int)

    harmonize = _add(
        commands, _harmonize, "harmonize", "write a Cityscapes-format copy of a synthetic data set (section 3.2)"
    )
    harmonize.add_argument("source", type=Path)
    harmonize.add_argument("target", type=Path)
    harmonize.add_argument("--dataset", default="synscapes")
    harmonize.add_argument("--variant", default="rgb", help="folder of the images (Synscapes: rgb or rgb-2k)")
    harmonize.add_argument("--images", choices=("link", "copy"), default="link")
    harmonize.add_argument("--workers", type=int)
    _add_policies(harmonize)

    train = _add(commands, _train, "train", "train and evaluate the run that a spec describes")
    train.add_argument("spec", type=Path, help="YAML; see synlib/spec.py for the fields")
    _add_study(train)
    train.add_argument("--processes", type=int, help="torchrun processes, one a GPU (default: the profile's)")
    train.add_argument("--initial-weights", default="", help="the checkpoint that a spec with `init: sha256:...` names")
    train.add_argument("--device", default="", help="cpu or cuda (default: cuda if there is one)")

    evaluate = _add(commands, _evaluate, "evaluate", "AP of a finished run on a data set, with intervals")
    _add_run(evaluate, split="val")
    _add_study(evaluate)

    coco = _add(commands, _coco, "coco", "export truth and a run's predictions in COCO format, with COCO mask AP")
    _add_run(coco, split="val")
    coco.add_argument("folder", type=Path, help="where truth.json and predictions.json go")
    _add_study(coco)

    submit = _add(commands, _submit, "submit", "pack a run's predictions for the Cityscapes test server")
    _add_run(submit, split="test")
    submit.add_argument("target", type=Path, help="OUT.zip")
    _add_study(submit)

    runs = _add(commands, _runs, "runs", "list the runs with their state, progress, AP and size")
    runs.add_argument("--runs", default="", help="run folder (default: runs/)")
    runs.add_argument("--json", action="store_true", help="print the list as JSON")

    cancel = _add(commands, _cancel, "cancel", "take the jobs of runs out of a Slurm cluster's queue")
    cancel.add_argument("run", nargs="*", help="run ids (default: all of the run folder)")
    cancel.add_argument("--runs", default="", help="run folder (default: runs/)")
    return parser


def _add(commands, function, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function)
    return parser


def _add_run(parser: argparse.ArgumentParser, split: str) -> None:
    parser.add_argument("run", help="run id")
    parser.add_argument("--on", default="Cityscapes", help="Cityscapes, Synscapes, or a Cityscapes-format folder")
    parser.add_argument("--split", default=split, help="default: %(default)s")


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="demo", help="whose data and devices to use (default: demo)")
    parser.add_argument("--cityscapes", default="", help="root of Cityscapes (default: the profile's)")
    parser.add_argument("--synscapes", default="", help="root of Synscapes (default: the profile's)")
    parser.add_argument("--data-dir", default="", help="where derived data go (default: data/PROFILE)")
    parser.add_argument("--runs", default="", help="run folder (default: runs/)")


def _add_policies(parser: argparse.ArgumentParser) -> None:
    from synlib.curation.rider_rule import DEFAULT_POLICY, POLICY_CHOICES

    for name, choices in POLICY_CHOICES.items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, choices=choices, default=getattr(DEFAULT_POLICY, name), help="default: %(default)s")


def _study(options: argparse.Namespace):
    from synlib.profile import Profile
    from synlib.study.study import Study

    given = {
        "data.cityscapes": options.cityscapes,
        "data.synscapes": options.synscapes,
        "data.folder": options.data_dir,
        "runs": options.runs,
        "execution.device": getattr(options, "device", ""),
    }
    return Study.open(Profile.load(options.profile).with_settings({k: v for k, v in given.items() if v}))


def _toyscapes(options: argparse.Namespace) -> int:
    from synlib.profile import Profile
    from synlib.study.data import prepare

    profile = Profile.load(options.profile).with_settings({"data.folder": options.data_dir})
    data = prepare(profile)
    print(f"Cityscapes: {data.roots['real']}\nSynscapes: {data.raw_synthetic}\nharmonised: {data.roots['synthetic']}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from scapes.verify import has_errors, summarize, verify_dataset

    findings = verify_dataset(options.root, full=options.full or None, workers=options.workers)
    if options.json:
        print(json.dumps(findings.to_dict("records"), indent=1))
    else:
        print(summarize(findings).to_string() if len(findings) else f"{options.root}: nothing wrong")
    return int(has_errors(findings))


def _harmonize(options: argparse.Namespace) -> int:
    from synlib.curation.harmonize import Policy, count_table, harmonize_dataset
    from synlib.curation.rider_rule import POLICY_CHOICES

    manifest = harmonize_dataset(
        options.source,
        options.target,
        dataset=options.dataset,
        policy=Policy(**{name: getattr(options, name) for name in POLICY_CHOICES}),
        variant=options.variant,
        images=options.images,
        workers=options.workers,
    )
    print(count_table(manifest).to_string())
    return 0


def _train(options: argparse.Namespace) -> int:
    from synlib.runs import launch
    from synlib.spec import RunSpec

    spec = RunSpec.load(options.spec)
    study = _study(options)
    spec = study.with_fingerprints(spec)
    job = study.execution().replace(initial_weights=options.initial_weights)
    if options.processes:
        job = job.replace(processes=options.processes)
    launch.train([spec], study.store, job)
    print(_mean_rows(study.store.frame([spec])).to_string(index=False))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from scapes.ap import average_precision, outcomes
    from scapes.bootstrap import draw, intervals, summary
    from scapes.instances import instance_table
    from scapes.records import match_data_set

    study = _study(options)
    on = study.data.evaluation_set(options.on, options.split)
    images, predictions = study.data.evaluation_images(on), study.predictions(options.run, on)
    instances = instance_table(images, cache_dir=study.data.cache_dir)
    pooled = outcomes(match_data_set(images, predictions, instances=instances, min_area_px=on.min_area_px))
    table = intervals(draw(pooled))
    table.insert(2, "ap50", summary(average_precision(pooled).ap)[:, 1])
    print(f"run {options.run} on {on.name}: AP as fractions, low and high of its 95 % interval over the images")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    return 0


def _coco(options: argparse.Namespace) -> int:
    from scapes.coco import coco_ap, coco_predictions, coco_truth, write_json
    from scapes.instances import instance_table
    from scapes.predictions import read_predictions

    study = _study(options)
    on = study.data.evaluation_set(options.on, options.split)
    images = study.data.evaluation_images(on)
    truth = coco_truth(images, instance_table(images, cache_dir=study.data.cache_dir))
    predictions = coco_predictions(images, read_predictions(study.predictions(options.run, on)))
    write_json(options.folder / "truth.json", truth)
    write_json(options.folder / "predictions.json", predictions)
    table = coco_ap(truth, predictions).pivot(index="class", columns="metric", values="value")
    print(table.to_string(float_format=lambda value: f"{value:.4f}"))
    return 0


def _submit(options: argparse.Namespace) -> int:
    from scapes.predictions import read_predictions
    from scapes.submit import check_submission, write_submission

    study = _study(options)
    on = study.data.evaluation_set(options.on, options.split)
    predictions, images = study.predictions(options.run, on), study.data.evaluation_images(on)
    expected = {"expected_images": images["image_id"], "size": (int(images["height"][0]), int(images["width"][0]))}
    write_submission(read_predictions(predictions), options.target, **expected)
    counts = check_submission(options.target, **expected)
    print(f"{options.target}: {len(images)} images; read back, detections by class:")
    print(counts.sum(numeric_only=True).to_string())
    return 0


def _runs(options: argparse.Namespace) -> int:
    from synlib.profile import ROOT
    from synlib.runs.slurm import queue_columns
    from synlib.runs.store import RunStore, readable_size, shown

    store = RunStore(options.runs or ROOT / "runs")
    frame, jobs = store.table(sizes=True), queue_columns(store)
    if len(jobs):
        frame = frame.merge(jobs, on="run", how="left")
    if options.json:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        print(json.dumps(records, indent=1))
    elif frame.empty:
        print(f"{store.root}: no runs")
    else:
        print(shown(frame))
        print(f"{len(frame)} runs, {readable_size(frame['bytes'].sum())} in {store.root}")
    return 0


def _cancel(options: argparse.Namespace) -> int:
    from synlib.profile import ROOT
    from synlib.runs.slurm import cancel
    from synlib.runs.store import RunStore

    store = RunStore(options.runs or ROOT / "runs")
    cancelled = cancel(store, options.run)
    for run_id, job in cancelled.items():
        print(f"run {run_id}: job {job.id} cancelled")
    if not cancelled:
        print(f"{store.root}: none of its runs has a job in the queue")
    return 0


def _mean_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["class"] == "mean") | frame["class"].isna()].drop(columns="class")


if __name__ == "__main__":
    sys.exit(main())
