"""Every file of a data set x every damage: what reads it refuses it in one sentence, and ``verify`` reports it."""

import contextlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from scapes import cityscapes
from scapes.instances import fingerprint, instance_table
from scapes.streets import BDD100K, VISTAS
from scapes.verify import verify_dataset
from seeded_rcnn.mapper import InstanceMapper
from seeded_rcnn.stream import TrainingSamples
from synlib.curation.harmonize import harmonize_dataset
from tests import tiny_data
from tests.faults.campaign import ANY, PNG, TEXT, content, listing, nobody, numbered, one_pixel, refusal, renamed

IMAGE = re.compile("ulm_[0-9]+|a_1-b|[0-9]+")
REAL = "{}/train/ulm/ulm_000002_000019_{}"
PHOTO = "leftImg8bit", "leftImg8bit.png"
# A class without instances, a group of an unknown class, beyond all classes; other data sets' and tools' numbers.
IDS = {str(value): one_pixel(value) for value in (7001, 500, 65535)}
IDS |= {"train id x 1000": numbered(1000, True), "label x 256": numbered(256), "gray 16": PNG["PNG kind"]["gray 16"]}
BEYOND = {"value": {"200": one_pixel(200), "255": one_pixel(255)}}
BAD_CLASSES = [
    *({"7": label} for label in (7, 99, "car", 26.5, None)),
    *({i: 26} for i in ("seven", "0", "-7", "99999999999999999999")),
    [26, 26],
    {"7": 26, "07": 32},
]
BAD_META = [json.dumps({"instance": {"class": bad}}) for bad in BAD_CLASSES]
CAR = {"color": [1, 2, 3], "label": "car"}
BAD_BOXES = [
    CAR, [{"color": [1, 2, 3]}], [{"label": "car"}], [CAR, CAR | {"label": "bus"}],
    *([CAR | {"color": color}] for color in ([1, 2], [1, 2, 999], [0, 0, 0], "red")),
    *([CAR | {"label": label}] for label in ("spaceship", "road")),
]  # fmt: skip


def metadata(*bad: str) -> dict[str, dict]:
    """Damages to metadata, among them ``bad`` contents."""
    return ANY | {"metadata": TEXT["damage"] | {text: content(text) for text in bad}}


class File(NamedTuple):
    """A file of a data set and its damages: those that its use is none the worse for, and those that are none."""

    name: str
    damages: dict[str, dict[str, Callable[[Path], None]]]
    unused: tuple[str, ...] = ()
    fine: tuple[str, ...] = ()


def of_65535_px(path: Path) -> None:
    """Its header says so, of height and width."""
    head, frame, rest = path.read_bytes().partition(b"\xff\xc0")
    path.write_bytes(head + frame + rest[:3] + b"\xff" * 4 + rest[7:])


def train(root: Path, out: Path) -> None:
    """What a training reads of a Cityscapes-format tree."""
    images = cityscapes.read_images(root, "train")
    fingerprint(images, out)
    samples = TrainingSamples(images, instance_table(images, out, workers=1), InstanceMapper([], "BGR"), 0)
    assert [samples[position]["image"].shape[0] for position in range(len(images))] == [3] * len(images)


def harmonize(root: Path, out: Path, **options) -> None:
    harmonize_dataset(root, out, workers=1, **options)


COLORS = ("palette", "RGBA")  # of photos, as training reads them
LINKED = ("missing", "another byte")  # a photo is linked, and what is missing is not in the data set
ULM = {name: renamed(name) for name in ("ulm_000002_leftImg8bit.png", "\udcfc_000002_000019_leftImg8bit.png")}
CUT = PNG["truncated PNG"]
NOT_READ = (*PNG["PNG kind"], "another size", "another byte", *BEYOND["value"])  # label maps: only that they are whole
KINDS = {name: damage for name, damage in PNG["PNG kind"].items() if name not in IDS}
MAPS = {"PNG kind": KINDS, "value": IDS, "maps disagree": {"26000": one_pixel(26000)}}
CITYSCAPES = (
    File(REAL.format(*PHOTO), PNG | {"name": ULM}, ("missing",), COLORS),
    File(REAL.format("gtFine", "gtFine_instanceIds.png"), PNG | MAPS, ("26000",)),
    File(REAL.format("gtFine", "gtFine_labelIds.png"), PNG | BEYOND, NOT_READ),
    File(REAL.format(*PHOTO).replace("train", "test"), {"truncated PNG": CUT}, tuple(CUT)),
)
SYNSCAPES = (
    File("img/rgb/2.png", PNG | {"name": {n: renamed(n) for n in ("02.png", "two.png")}}, LINKED, COLORS),
    File("img/class/2.png", PNG | BEYOND),
    File("img/instance/2.png", PNG | {"unknown instance": {"unknown": one_pixel(1, 2, 3)}}, ("unknown",)),
    File("meta/2.json", metadata(*BAD_META, '{"instance": {"class": {"7": 26, "7": 3}}}')),
)
JPEG = {name: PNG[name] for name in ("missing", "unreadable", "size")} | {
    "not a JPEG": PNG["empty file"] | {name: PNG["not a PNG"][name] for name in ("other format", "web page")},
    "damaged JPEG": {"truncated": CUT["truncated"], "65,535 px": of_65535_px},
}
NO_CLASS = {"value": {"class": one_pixel(0, 0, 9, 1), "all": one_pixel(255, 255, 255, 255)}}
BAD_CONFIG = ['{"labels": [{"name": "object--vehicle--car"}]}', '{"labels": [{}]}', '{"labels": 3}']
USES = {
    "cityscapes": (partial(tiny_data.write_cityscapes, train=2, val=1, test=2), train, CITYSCAPES),
    "synscapes": (tiny_data.write_synscapes, harmonize, SYNSCAPES),
    "synscapes 2k": (tiny_data.write_synscapes, partial(harmonize, variant="rgb-2k"), (
        File("img/rgb-2k/2.png", PNG, LINKED, COLORS),
    )),
    "urbansyn": (tiny_data.write_urbansyn, partial(harmonize, dataset="urbansyn", splits={"train": [1]}), (
        File("rgb/rgb_0001.png", PNG, ("another byte",), COLORS),
        File("ss/ss_0001.png", PNG),
        File("panoptic/panoptic_0001.png", PNG, fine=("RGBA",)),
        File("bbox2d/bbox2d_0001.json", metadata(*map(json.dumps, BAD_BOXES)), fine=("empty object",)),
    )),
    "bdd100k": (partial(tiny_data.write_street, layout=BDD100K), partial(harmonize, dataset="bdd100k"), (
        File("images/10k/val/a_1-b.jpg", JPEG),
        File("labels/ins_seg/bitmasks/val/a_1-b.png", PNG | NO_CLASS, fine=("RGBA",)),
    )),
    "vistas": (partial(tiny_data.write_street, layout=VISTAS), partial(harmonize, dataset="vistas"), (
        File("validation/v2.0/instances/a_1-b.png", PNG | {"PNG kind": KINDS, "value": {"all": one_pixel(65535)}}),
        File("config_v2.0.json", metadata(*BAD_CONFIG)),
    )),
}  # fmt: skip
CASES = [
    pytest.param(write, use, file, kind, damage, id=f"{name}-{file.name}-{damage.encode('ascii', 'replace').decode()}")
    for name, (write, use, files) in USES.items()
    for file in files
    for kind, damages in file.damages.items()
    for damage in damages
]


@pytest.mark.parametrize(("write", "use", "file", "kind", "damage"), CASES)
def test_a_damaged_file_of_a_data_set(place, write, use, file, kind, damage):
    root, out, path = write(place / "data"), place / "out", place / "data" / file.name
    image = {*root.rglob(f"*{IMAGE.search(path.name)[0]}*")}
    file.damages[kind][damage](path)
    # Of two sizes either may be named, of what is missing another file of the image, or the folder where it was.
    either = {"size": image, "missing": image | {path.parent, root}, "name": {*path.parent.iterdir()}}.get(kind, {path})
    before = listing(root)
    with nobody() if damage == "no permission" else contextlib.nullcontext():
        findings = verify_dataset(root, part=True, workers=1)
        if damage in file.unused + file.fine:
            use(root, out)
        else:
            said = refusal(lambda: use(root, out), *either)
            assert kind in ("missing", "unreadable") or f": {kind}: found" in said
            refusal(lambda: cityscapes.read_images(out, "train"), out)  # nothing there passes for a data set
            assert "instanceIds" not in file.name or kind == "size" or not list(out.glob("*.parquet"))
    names = [str(name).encode(errors="backslashreplace").decode() for name in either]
    own, others = findings[findings["path"].isin(names)], findings[~findings["path"].isin([*names, *map(str, image)])]
    assert "error" not in set(others["severity"]), others
    if kind != "missing" or damage not in file.unused:
        errors = own[(own["severity"] == "error") & (own["kind"] == kind)]
        assert errors.empty == (damage in file.fine), findings
        assert (errors[["found", "expected"]] != "").all(axis=None)
    assert listing(root) == before
