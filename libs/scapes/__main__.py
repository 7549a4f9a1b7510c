"""Average precision of predictions, by class in percent, with 95 % bootstrap intervals over the images."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scapes.bootstrap import RESAMPLES, Draws, draw, intervals
from scapes.cityscapes import read_images
from scapes.exchange import read_coco, read_submission
from scapes.match import BAND, match_data_set
from scapes.predictions import write_predictions


def main(arguments: Sequence[str] | None = None) -> int:
    """Print AP by class. Returns 0; 1 when something is wrong, said on standard error; argparse ends wrong usage."""
    parser = argparse.ArgumentParser("python -m scapes", description=__doc__)
    parser.add_argument("command", choices=["ap"])
    parser.add_argument("truth", metavar="GROUND_TRUTH", help="Cityscapes root, for val, or gtFine/SPLIT in one")
    parser.add_argument("predictions", metavar="PREDICTIONS", help="as for the test server, COCO .json or .parquet")
    parser.add_argument("--against", metavar="OTHER", help="subtract these predictions: paired bootstrap")
    parser.add_argument("--annotations", metavar="FILE", help="for .json, OTHER too: COCO file that says what ids are")
    parser.add_argument("--bootstrap", type=int, default=RESAMPLES, metavar="N", help="resamples (%(default)s)")
    parser.add_argument("--boundary", type=float, nargs="?", const=BAND, default=0.0, metavar="BAND",
                        help="boundary AP; width of bands as a fraction of the diagonal (%(const)s)")  # fmt: skip
    given = parser.parse_args(arguments)
    if given.bootstrap < 1 or not 0 <= given.boundary < 1:
        parser.error(f"found --bootstrap {given.bootstrap} --boundary {given.boundary:g}, expected >= 1 and in [0, 1)")
    if not given.annotations and any(str(path).endswith(".json") for path in (given.predictions, given.against)):
        parser.error("found COCO results without --annotations, expected the COCO file that says what their ids are")
    try:
        place = Path(os.path.abspath(given.truth))
        root, split = (place.parents[1], place.name) if place.parent.name == "gtFine" else (place, "val")
        images = read_images(root, split, ["instance_path"])
        draws = {"": _draws(given.predictions, images, given)}
        if given.against:
            one, other = draws[""], _draws(given.against, images, given)
            difference = Draws(one.value - other.value, one.drawn - other.drawn, one.truth)
            draws |= {" against": other, " difference": difference}
        tables = [intervals(item).set_index("class").add_suffix(name) for name, item in draws.items()]
        print((100 * pd.concat(tables, axis="columns")).to_string(float_format="{:.1f}".format, na_rep="-"))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _draws(path: str, images: pd.DataFrame, given: argparse.Namespace) -> Draws:
    with tempfile.TemporaryDirectory() as folder:
        if not path.endswith(".parquet"):
            coco = path.endswith(".json")
            items = read_coco(path, images, given.annotations) if coco else read_submission(path, images)
            path = f"{folder}/predictions.parquet"
            write_predictions(path, items)
        records = match_data_set(images, path, band=given.boundary)
    return draw(records, resamples=given.bootstrap)


if __name__ == "__main__":
    sys.exit(main())
