"""Every file of a data set x every damage: what reads it refuses it in one sentence, and ``verify`` reports it."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from scapes import cityscapes
from scapes.instances import fingerprint, instance_table
from scapes.verify import verify_dataset
from seeded_rcnn.mapper import InstanceMapper
from synlib.curation.harmonize import harmonize_dataset
from tests import tiny_data
from tests.faults.campaign import (
    PNG,
    TEXT,
    listing,
    nobody,
    numbered,
    one_pixel,
    refusal,
)

REAL = "{}/train/ulm/ulm_000002_000019_{}"
KEY = re.compile("ulm_[0-9]+|[0-9]+")
MAPS = {
    "trainId x 1000 + n": numbered(1000, True),
    "label x 256 + n": numbered(256),
    "beyond 16 bits": one_pixel(65535),
}
BEYOND = {"beyond all labels": one_pixel(200)}
KINDS = frozenset({"another depth", "gray 16", "palette", "RGBA", "gray+alpha"})
PHOTO = frozenset({"palette", "RGBA", "gray+alpha"})  # kinds of photos that training can read
SIXTEEN = KINDS - PHOTO


class File(NamedTuple):
    """A file of a data set, its damages, and those that what reads it can do without noticing."""

    name: str
    damages: dict[str, Callable[[Path], None]]
    harmless: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    fine: frozenset[str] = frozenset()


def train(root: Path, out: Path) -> None:
    """What a training reads of a Cityscapes-format tree."""
    images = cityscapes.read_images(root, "train")
    fingerprint(images, out)
    table = instance_table(images, out, workers=1, progress=False)
    for image in images.to_dict("records"):
        own = table[table["image_id"] == image["image_id"]]
        found = {"instance_id": own["instance_id"].to_numpy(), "category": own["category"].to_numpy()}
        InstanceMapper([], "BGR")(image | found | {"boxes": own[["x0", "y0", "x1", "y1"]].to_numpy()})


def harmonize(dataset: str, variant: str = "rgb") -> Callable[[Path, Path], None]:
    return lambda root, out: harmonize_dataset(root, out, dataset=dataset, variant=variant, workers=1, progress=False)


def write_cityscapes(root: Path) -> None:
    tiny_data.write_cityscapes(root, train=2, val=1)


def write_synscapes(root: Path) -> None:
    tiny_data.write_synscapes(root, images=2)


USES = {
    "cityscapes": (write_cityscapes, train, [
        File(REAL.format("leftImg8bit", "leftImg8bit.png"), PNG, PHOTO | {"missing"}, SIXTEEN),
        File(REAL.format("gtFine", "gtFine_instanceIds.png"), PNG | MAPS, pending=frozenset({"gray 16", *MAPS})),
        File(REAL.format("gtFine", "gtFine_labelIds.png"), PNG | BEYOND, KINDS | {"another size", *BEYOND}),
        File(REAL.format("gtFine", "gtFine_polygons.json"), TEXT, frozenset(TEXT)),
    ]),
    "synscapes": (write_synscapes, harmonize("synscapes"), [
        File("img/rgb/2.png", PNG, PHOTO | {"missing"}, SIXTEEN),
        File("img/class/2.png", PNG | BEYOND),
        File("img/instance/2.png", PNG | {"unknown": one_pixel(1, 2, 3)}, frozenset({"unknown"})),
        File("meta/2.json", TEXT),
    ]),
    "synscapes 2k": (write_synscapes, harmonize("synscapes", "rgb-2k"), [
        File("img/rgb-2k/2.png", PNG, PHOTO | {"missing"}, SIXTEEN),
    ]),
    "urbansyn": (tiny_data.write_urbansyn, harmonize("urbansyn"), [
        File("rgb/rgb_0001.png", PNG, PHOTO, SIXTEEN, frozenset({"RGBA"})),
        File("ss/ss_0001.png", PNG),
        File("panoptic/panoptic_0001.png", PNG, frozenset({"RGBA"}), fine=frozenset({"RGBA"})),
        File("bbox2d/bbox2d_0001.json", TEXT, frozenset({"empty object"}), fine=frozenset({"empty object"})),
    ]),
}  # fmt: skip
CASES = [
    pytest.param(
        write, use, file, damage, id=f"{name}-{Path(file.name).name}-{damage}",
        marks=[pytest.mark.xfail(reason="read without looking")] * (damage in file.pending),
    )
    for name, (write, use, files) in USES.items()
    for file in files
    for damage in file.damages
]  # fmt: skip


@pytest.mark.parametrize(("write", "use", "file", "damage"), CASES)
def test_a_damaged_file_of_a_data_set(place, write, use, file, damage):
    """Where nothing is refused, it is what can be done without, or the difference does not matter."""
    root, out = place / "data", place / "out"
    write(root)
    path = root / file.name
    image = {path, *root.rglob(f"*{KEY.search(path.name)[0]}*")}  # of a size or a gap, any of its files may be named
    named = image if damage in ("another size", "missing") else {path}
    file.damages[damage](path)
    before = listing(root)
    with nobody() if damage == "no permission" else contextlib.nullcontext():
        findings = verify_dataset(root, workers=1)
        if damage in file.harmless:
            use(root, out)
        else:
            refusal(lambda: use(root, out), *image, path.parent)
            assert not (out / cityscapes.MANIFEST).exists()
    found = findings[findings["path"].isin(map(str, named))]
    reported = found if damage in file.harmless else found[found["severity"] == "error"]
    assert reported.empty == (damage in file.fine), findings
    assert listing(root) == before
