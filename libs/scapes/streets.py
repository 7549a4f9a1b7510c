"""Other real streets, to evaluate on: the validation images of BDD100K and of Mapillary Vistas 2.0.

Their photos are JPEG files, and one PNG has all labels of an image. ``layouts.yaml`` says where the files are and which
of Cityscapes' classes theirs are, with the source of each fact.
"""

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from scapes import png
from scapes.cityscapes import Layout
from scapes.files import BadFile, read_json
from scapes.labels import INSTANCE_LABEL_IDS, NAMES, label_id

VOID = label_id("unlabeled")  # where nothing is evaluated
OTHER = label_id("building")  # of all that is not named: a class without instances, so that a detection there is false


class Streets(Layout):
    """A layout of which the only group is the validation split."""

    def read_images(self, root: str, variant: str = "rgb", splits: object = None) -> pd.DataFrame:
        """Image table as of ``NumberedDataset.read_images``; image ids: names of files. ValueError for an option."""
        if variant != "rgb" or splits:
            found = f"variant {variant!r}, splits {splits}"
            raise ValueError(f"{self.name}: found {found}, expected neither: its validation split is taken as it is")
        (group,) = self.groups
        keys = self.keys(root, group)
        paths = self.table(root, group, keys, ("image_path", "instance_path"))
        more = {name: self.path(root, group, "", name) for name in self.files.keys() & {"meta_path"}}
        return pd.DataFrame({"dataset": self.name, "split": "val", "image_id": keys}).join(paths.assign(**more))

    def read_photo(self, path: str) -> np.ndarray:
        """uint8 (H, W, 3) BGR of a JPEG file, turned as it is stored; raises ``BadFile`` or ``OSError``."""
        with open(path, "rb") as file:
            try:
                return np.array(Image.open(file, formats=["JPEG"]).convert("RGB"))[..., ::-1]
            except UnidentifiedImageError as error:
                raise BadFile("not a JPEG", path, "another format, or nothing", "a JPEG photo") from error
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # of Pillow: also broken headers
                raise BadFile("damaged JPEG", path, str(error), "a complete JPEG photo") from error

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Class map uint8 (H, W), instance map int32 (H, W), 0 where there is none, and {instance id: label id}.

        Raises ``BadFile`` if a file is damaged or holds a class that the data set does not have.
        """
        class_map, instance_map = self.readers["instance_path"](image)
        ids, first = np.unique(instance_map, return_index=True)
        return class_map, instance_map, {int(i): int(class_map.flat[k]) for i, k in zip(ids, first, strict=True) if i}


def _read_bdd100k(image: dict) -> tuple[np.ndarray, np.ndarray]:
    pixels = png.read(image["instance_path"], "RGBA 8").astype(np.int32)
    high, attributes, number, low = np.moveaxis(pixels, 2, 0)  # B, G, R, A
    class_map, told_apart = _classes(BDD100K, [0, *BDD100K.classes], number, image)
    class_map[attributes & 1 > 0] = VOID
    told_apart &= attributes & 3 == 0  # neither crowd nor ignore
    return class_map, np.where(told_apart, number << 16 | high << 8 | low, 0)


def _read_vistas(image: dict) -> tuple[np.ndarray, np.ndarray]:
    def parse(config: dict) -> list[str]:
        names = [str(label["name"]) for label in config["labels"]]
        if lacking := [name for name in VISTAS.classes if name not in names]:
            raise ValueError(f"no class {lacking[0]}")
        return names

    expected = 'config_v2.0.json of the data set, {"labels": [{"name": ...}, ...]}'
    names = read_json(image["meta_path"], "metadata", expected, parse)
    values = png.read(image["instance_path"], "gray 16").astype(np.int32)
    class_map, told_apart = _classes(VISTAS, names, values // 256, image)
    return class_map, np.where(told_apart, values + 1, 0)  # an instance may be number 0 of class 0


def _classes(layout: Streets, names: list, number: np.ndarray, image: dict) -> tuple[np.ndarray, np.ndarray]:
    """Label ids, uint8 (H, W), of pixels that have the ``number`` of a class in ``names``, int32 (H, W), and whether
    its instances are told apart, bool (H, W). Raises ``BadFile`` for a number beyond the names."""
    if number.max() >= len(names):
        expected = f"classes 0..{len(names) - 1}" + (f" of {image['meta_path']}" if "meta_path" in image else "")
        raise BadFile("value", image["instance_path"], f"class {number.max()}", expected)
    ours = [layout.classes.get(name, NAMES[VOID if str(name).startswith("void") else OTHER]) for name in names]
    ids = np.array([label_id(name.removesuffix("group")) for name in ours], np.uint8)
    return ids[number], (np.isin(ids, INSTANCE_LABEL_IDS) & ~np.char.endswith(ours, "group"))[number]


BDD100K = Streets("bdd100k", instance_path=_read_bdd100k)
VISTAS = Streets("vistas", instance_path=_read_vistas)
STREETS = {layout.name: layout for layout in (BDD100K, VISTAS)}
