"""Everything that only a GPU can show, in one command: ``make gpu-check``; on a CPU ``GPU_CHECK=tiny make gpu-check``.

Checks, each a line of the table and an entry of ``reports/gpu_check.json``:

- forward: what backbone and RPN make of one batch agrees on the GPU and on the CPU;
- precision: a short training in each precision has an AP within the float32 one's interval, and the other way round;
- repeat: two trainings with ``execution.deterministic`` have the same bytes, and so has one that was killed on the way;
- compiled: with compiled parts (``execution.compile``), losses are those without, up to rounding; on a CPU with the
  compiler's front end only;
- processes: two processes, which share one GPU through gloo, or have one each with NCCL, have the losses of one;
- memory: a batch that does not fit is told with its remedy (only on a GPU);
- ``train_step.py`` and ``inference.py``, whose last lines are shown.

Offline: ImageNet weights of the R50 are damped random ones made here. Ends with 1 if a check fails.
"""

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from seeded_rcnn import numerics
from seeded_rcnn.trainer import Trainer
from synlib.pointrend import trainer, worker
from synlib.pointrend.config import detectron2_config
from synlib.profile import ROOT, Profile
from synlib.runs import launch
from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec
from synlib.study.study import Study

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
PRECISIONS = ("float32", "tf32", "bf16", "fp16") if GPU else ("float32", "bf16")
BENCHMARKS = {
    "tiny": {
        "train_step.py": "--scale tiny --iterations 6 --images 2 --precision float32",
        "inference.py": "--scale tiny --images 2 --rounds 1",
    },
    "paper": {
        "train_step.py": "--iterations 60 --images 16 --batch 2 --weights random",
        "inference.py": "--images 12",
    },
}
ITERATIONS = {"tiny": 12, "paper": 400}


class Check:
    """The study that is trained on, and how long a training is."""

    def __init__(self, scale: str, folder: Path) -> None:
        settings = {"runs": str(folder / "runs"), "execution.device": DEVICE, "execution.deterministic": True}
        profile = Profile.load("smoke" if scale == "tiny" else "demo").with_settings(settings)
        self.scale, self.folder, self.study = scale, folder, Study.open(profile)
        self.execution = self.study.execution().replace(checkpoint_period=5, processes=1)

    def spec(self, precision: str = "float32") -> RunSpec:
        """Table 1's run on real images, shortened."""
        (spec,) = (item.spec for item in self.study.planned("table1") if item.name == "Cityscapes")
        schedule = spec.schedule.replace(iterations=ITERATIONS[self.scale], warmup_iterations=5)
        return spec.replace(schedule=schedule, precision=precision)

    def train(self, store: str, spec: RunSpec, execution: Execution) -> RunDir:
        runs = RunStore(self.folder / store)
        launch.train([spec], runs, execution)
        return runs.run(spec)


def built(check: Check, name: str, device: str) -> Trainer:
    """The trainer of Table 1's run, before its first iteration."""
    spec, run = check.spec(), RunDir(check.folder / name)
    run.path.mkdir()
    numerics.configure("float32", deterministic=True, gpu=device != "cpu")
    data = worker.training_set(spec.data, check.execution)
    return trainer.build_trainer(spec, detectron2_config(spec, device), data, check.execution, run)


def forward(check: Check) -> str:
    """The largest difference between what backbone and RPN make of one batch on the two devices."""
    outputs = []
    for name, device in (("reference", "cpu"), ("device", DEVICE)):
        training = built(check, name, device)
        network, batch = training.network.train(), next(training.batches)
        rpn, images = network.proposal_generator, network.preprocess_image(batch)
        with torch.no_grad():
            features = network.backbone(images.tensor)
            parts = rpn.rpn_head([features[level] for level in rpn.in_features])
        outputs.append(torch.cat([part.flatten().cpu() for pyramid in parts for part in pyramid]))
        training.batches = None
    reference, found = outputs
    difference = float((found - reference).abs().max() / reference.abs().max())
    expect(difference < 1e-3, f"outputs differ by {difference:.1e} of their largest, expected at most 1e-3")
    return f"outputs differ by at most {difference:.1e} of their largest"


def precision(check: Check) -> str:
    found = {}
    for name in PRECISIONS:
        spec = check.spec(name)
        launch.train([spec], check.study.store, check.execution)
        frame = check.study.store.frame([spec])
        row = frame[(frame["class"] == "mean") & (frame["evaluated on"] == "Cityscapes")].iloc[0]
        found[name] = row["ap"], row["low"], row["high"]
    reference = found["float32"]
    for name, (ap, low, high) in found.items():
        inside = reference[1] <= ap <= reference[2] and low <= reference[0] <= high
        expect(inside, f"{name}: AP {ap:.1f} ({low:.1f} – {high:.1f}), float32: {reference}")
    return ", ".join(f"{name} {ap:.1f} ({low:.1f} – {high:.1f})" for name, (ap, low, high) in found.items())


def repeat(check: Check) -> str:
    spec, execution = check.spec(), check.execution.replace(evaluate_on=())
    hashes = [check.train(store, spec, execution).read("result.json")["weights_sha256"] for store in ("one", "two")]
    hashes.append(killed(check, spec, execution))
    expect(len(set(hashes)) == 1, f"weights of two trainings and of a killed one: {', '.join(h[:8] for h in hashes)}")
    return f"two trainings and a killed and resumed one: the same weights, {hashes[0][:8]}"


def killed(check: Check, spec: RunSpec, execution: Execution) -> str:
    """The hash of the final weights of a training that was killed after its first checkpoint, and resumed."""
    run = RunDir(check.folder / "killed" / spec.run_id)
    run.create(spec)
    run.write("job.json", execution.to_dict())
    with open(run.output_path, "ab") as output:
        command = [sys.executable, "-m", "synlib.pointrend.worker", str(run.path)]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    while process.poll() is None and not list(run.path.glob("model_0*.pth")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return check.train("killed", spec, execution).read("result.json")["weights_sha256"]


def compiled(check: Check) -> str:
    """Losses with compiled parts against those without, and how long an iteration takes once all is compiled."""
    losses, seconds = {}, {}
    if not GPU:
        torch.compile = functools.partial(torch.compile, backend="eager")
    for name in ("plain", "compiled"):
        training = built(check, name, DEVICE)
        if name == "compiled":
            numerics.compile_parts(training.network, str(check.folder / "compiler"))
        training.train(0, ITERATIONS[check.scale] // 2)
        times = training.storage.history("time").values()[-5:]  # of the last iterations
        losses[name], seconds[name] = training.storage.latest()["total_loss"][0], min(value for value, _ in times)
    plain, found = losses.values()
    expect(abs(found - plain) <= 0.02 * abs(plain), f"losses {losses}, expected the same within 2 %")
    return (
        f"losses {plain:.4f} and {found:.4f}; an iteration takes {seconds['plain']:.3f} and {seconds['compiled']:.3f} s"
    )


def processes(check: Check) -> str:
    """Losses of two processes against those of one."""
    losses, spec, execution = [], check.spec(), check.execution.replace(evaluate_on=())
    for count in (1, 2):
        run = RunDir(check.folder / f"processes{count}" / spec.run_id)
        run.create(spec)
        run.write("job.json", execution.replace(processes=count).to_dict())
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        ended = subprocess.run(
            [*torchrun, "-m", "synlib.pointrend.worker", str(run.path)], capture_output=True, text=True
        )
        expect(ended.returncode == 0, ended.stderr[-500:])
        lines = [json.loads(line) for line in (run.path / "metrics.json").read_text().splitlines()]
        losses.append(next(line["total_loss"] for line in lines if "total_loss" in line))
    expect(abs(losses[1] - losses[0]) <= 0.01 * abs(losses[0]), f"losses {losses}, expected the same within 1 %")
    backend = "NCCL" if torch.cuda.device_count() > 1 else "gloo"
    return f"losses after the first iterations by {backend}: {losses[0]:.5f} and {losses[1]:.5f}"


def memory(check: Check) -> str:
    if not GPU:
        return "not tried: no GPU"
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        built(check, "memory", "cuda").train(0, 1)
    except RuntimeError as error:
        expect("images_per_step" in str(error) or "more memory" in str(error), str(error))
        return str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    raise AssertionError("a batch fitted into 0.2 % of the GPU's memory")


def benchmark(check: Check, name: str) -> str:
    options = BENCHMARKS[check.scale][name].split()
    command = [sys.executable, Path(__file__).with_name(name), *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    print(ended.stdout)
    expect(ended.returncode == 0, ended.stderr[-500:])
    return ended.stdout.splitlines()[-1]


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("paper", "tiny"), default=os.environ.get("GPU_CHECK", "paper"))
    parser.add_argument("--json", type=Path, default=ROOT / "reports" / "gpu_check.json")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if GPU else "CPU"
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        check = Check(options.scale, Path(folder))
        steps: dict[str, Callable[[Check], str]] = {
            step.__name__: step for step in (forward, precision, repeat, compiled, processes, memory)
        }
        steps |= {name: lambda check, name=name: benchmark(check, name) for name in BENCHMARKS[options.scale]}
        for name, step in steps.items():
            started = time.monotonic()
            try:
                row = {"ok": True, "found": step(check)}
            except Exception as error:  # one failed check must not hide the others; the exit code says it
                row = {"ok": False, "found": f"{type(error).__name__}: {error}"}
            rows[name] = row | {"seconds": round(time.monotonic() - started, 1)}
            print(f"{name}: {rows[name]}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"device": device, "scale": options.scale, "checks": rows}, indent=1))
    for name, row in rows.items():
        print(f"{'ok    ' if row['ok'] else 'FAILED'} {name:14} {row['seconds']:6.1f} s  {row['found']}")
    print(f"{sum(row['ok'] for row in rows.values())} of {len(rows)} checks hold on {device}")
    return int(not all(row["ok"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
