"""Put the pictures and numbers of a finished study into README: `make readme`. `--check` only says whether they agree.

README's part between the two marks is made from three files that stand beside its pictures in `figures/`: `readme.csv`
(AP of the rows of its table), `claims.csv` (the verdicts, with all seeds and with each alone) and `readme.json` (what
was trained, and where). The numbers in README are of `make readme ARGS="--seeds 0 1 2"`.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- numbers: `make readme` -->\n", "<!-- end of numbers -->\n"
PICTURES = ("figure1", "figure3", "figure4", "figure5", "figure6_effective")
ROWS = {
    "real images alone": ("steps", "basic"),
    "equally many synthetic images alone": ("steps", "3k"),
    "… their smallest instances removed": ("what_to_remove", "removed: smallest"),
    "… as many random ones removed": ("what_to_remove", "removed: random"),
    "… as many of the most occluded ones removed": ("what_to_remove", "removed: occlusion"),
    "pre-training on all synthetic images": ("steps", "20k"),
    "… small instances removed": ("steps", "pruned"),
    "… then fine-tuned, baseline's learning rate": ("steps", "fine-tuned"),
    "… then fine-tuned, best learning rate": ("steps", "optimized"),
    "mixing, as many iterations as both together": ("removal", "mixing, removal on"),
}
"""Row of README's table -> experiment, and the run's name in it."""


def collect(profile: str, seeds: list[int], folder: Path) -> None:
    """Write the three files and the pictures of a study whose notebooks were executed to ``folder``; trains nothing."""
    from synlib.report import site, verdicts
    from synlib.report.frames import across_seeds, published
    from synlib.study import plan
    from synlib.study.study import Study

    study = Study.open(profile, seeds=seeds)
    planned = study.planned(*plan.EXPERIMENTS)
    table = study.store.table(planned)
    papers = published()["removal"].assign(name=lambda rows: rows["approach"] + ", removal " + rows["removal"])
    papers = pd.concat([published()["steps"].rename(columns={"step": "name"}), papers])
    rows = []
    for label, (experiment, name) in ROWS.items():
        results = study.results([item for item in planned if (item.experiment, item.name) == (experiment, name)])
        theirs = papers[papers["name"] == name]
        found = across_seeds(results, []).merge(theirs, "left", "evaluated on", suffixes=("", " paper"))
        rows.append(found.assign(row=label)[["row", "evaluated on", "ap", "low", "high", "ap paper", "run"]])
    pd.concat(rows).to_csv(folder / "readme.csv", index=False)
    toys = study.profile.data.toyscapes
    about = {
        "seeds": len(study.profile.seeds), "real": toys.real.train, "synthetic": toys.synthetic.train,
        "validation": toys.real.val, "trainings": len(table), "iterations": int(table["iterations"].sum()),
        "diverged": int(table["state"].str.startswith("diverged").sum()), **site.environment(),
    }  # fmt: skip
    (folder / "readme.json").write_text(json.dumps(about, indent=1) + "\n")
    claims = pd.read_csv(study.profile.figures_dir / "claims.csv", dtype={"section": str})
    for seed in study.profile.seeds if len(study.profile.seeds) > 1 else ():
        claims[f"seed {seed}"] = verdicts.judged(Study.open(profile, seeds=[seed]))["verdict"]
    claims.to_csv(folder / "claims.csv", index=False)
    for name in (f"{picture}.png" for picture in PICTURES):
        shutil.copyfile(study.profile.figures_dir / name, folder / name)


def text(folder: Path) -> str:
    """README's part, from the files in ``folder``."""
    about, table = json.loads((folder / "readme.json").read_text()), pd.read_csv(folder / "readme.csv")
    seeds = "one seed" if about["seeds"] == 1 else f"{about['seeds']} seeds"
    spread = "AP in percent, with 95 % intervals by bootstrap over {} validation images of each domain."
    if about["seeds"] > 1:
        spread = (
            f"AP in percent on {{}} validation images of each domain: the mean of {seeds}, their smallest and largest."
        )
    diverged = f" ({about['diverged']} of them diverged)" if about["diverged"] else ""
    numbers = "{ap:.1f} ({low:.1f} – {high:.1f}) | {ap paper:.1f}".format_map
    lines = [
        f"From {seeds} on {about['real']} real-looking and {about['synthetic']} synthetic images: {about['trainings']} "
        f"trainings{diverged}, {about['iterations']:,} iterations; processor: {about['processor']}.",
        spread.format(about["validation"]),
        "",
        "| Tables 1, 2 and 5, and what to remove | on Cityscapes | the paper | on Synscapes | the paper |",
        "|---|---|---|---|---|",
    ]
    for label in ROWS:
        cells = table[table["row"] == label].set_index("evaluated on")
        pair = [cells.loc[on] for on in ("Cityscapes", "Synscapes")]
        lines.append(f"| {label} | {' | '.join(map(numbers, pair))} |".replace("nan", "–"))
    return "\n".join([*lines, "", *_claims(pd.read_csv(folder / "claims.csv", dtype={"section": str})), ""])


def _claims(claims: pd.DataFrame) -> list[str]:
    """How many claims hold, and which do not or are not decided."""
    from synlib.report.verdicts import HOLDS, counted

    alone = [name for name in claims if name.startswith("seed ")]
    lines = [f"{counted(claims['verdict'])}."]
    if alone:
        lines[0] += " Intervals are over seeds and images together."
        each = "; ".join(f"{name}: {counted(claims[name]).partition(': ')[2]}" for name in alone)
        same = (claims[alone].nunique(axis=1) == 1).sum()
        lines += ["", f"Of one seed alone, as `make demo` gives: {each}. {same} verdicts are the same with each seed."]
    lines.append("")
    for _, row in claims[claims["verdict"] != HOLDS].sort_values("verdict", kind="stable").iterrows():
        ours = "no number" if pd.isna(row["ours"]) else f"{row['ours']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
        lines.append(f"- {row['verdict']}: {row['claim']} ({row['shown in']}): here {ours} {row['unit']}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="of the study (default: the profile's)")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 where README and the files differ")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of README.md and figures/")
    options = parser.parse_args(arguments)
    if not options.check:
        collect(options.profile, options.seeds, options.root / "figures")
    readme, made = options.root / "README.md", text(options.root / "figures")
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    found, _, after = rest.partition(END)
    if options.check:
        problem = f"{readme}: its numbers are not those of figures/readme.csv and claims.csv; type `make readme`"
        print(problem * (found != made), end="\n" * (found != made), file=sys.stderr)
        return int(found != made)
    readme.write_text(before + START + made + END + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
