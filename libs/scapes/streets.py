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
from scapes.labels import label_id

VOID = 0  # label id of pixels where nothing is evaluated
OTHER = label_id("building")  # of all that is not named: a class without instances, so that a detection there is false
GROUP = "group"  # how the name of a class ends whose instances are not told apart


class Streets(Layout):
    """A layout of which the only group is the validation split."""

    def read_images(self, root: str, variant: str = "rgb", splits: object = None) -> pd.DataFrame:
        """Image table as of :meth:`scapes.synthetic.NumberedDataset.read_images`; ``image_id``: the files' names.

        Raises as :meth:`keys` and :meth:`table`, and ``ValueError`` for a ``variant`` or ``splits``, which it has not.
        """
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
            except (OSError, SyntaxError) as error:  # of Pillow; the second for some broken headers
                raise BadFile("damaged JPEG", path, str(error), "a complete JPEG photo") from error

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Class map uint8 (H, W), instance map int32 (H, W), 0 where there is none, and {instance id: label id}.

        Raises ``BadFile`` if a file is damaged or holds a class that the data set does not have.
        """
        class_map, instance_map = self.readers["instance_path"](image)
        ids, first = np.unique(instance_map, return_index=True)
        return class_map, instance_map, {int(i): int(class_map.flat[k]) for i, k in zip(ids, first, strict=True) if i}


def _read_bdd100k(image: dict) -> tuple[np.ndarray, np.ndarray]:
    path = image["instance_path"]
    low, attributes, number, high = np.moveaxis(png.read(path, "RGBA 8").astype(np.int32), 2, 0)  # B, G, R, A
    labels, _ = _labels(BDD100K, [0, *BDD100K.classes])
    if number.max() >= len(labels):
        raise BadFile("value", path, f"class {number.max()}", f"classes 0..{len(labels) - 1}")
    told_apart = (number > 0) & (attributes & 3 == 0)  # neither crowd nor ignore
    class_map = np.where(attributes & 1, VOID, labels[number]).astype(np.uint8)
    return class_map, np.where(told_apart, number << 16 | low << 8 | high, 0)


def _read_vistas(image: dict) -> tuple[np.ndarray, np.ndarray]:
    def parse(config: dict) -> list[str]:
        names = [label["name"] for label in config["labels"]]
        if lacking := [name for name in VISTAS.classes if name not in names]:
            raise ValueError(f"no class {lacking[0]}")
        return names

    expected = 'config_v2.0.json of the data set, {"labels": [{"name": ...}, ...]}'
    labels, told_apart = _labels(VISTAS, read_json(image["meta_path"], "metadata", expected, parse))
    path = image["instance_path"]
    values = png.read(path, "gray 16").astype(np.int32)
    number = values // 256
    if number.max() >= len(labels):
        raise BadFile("value", path, f"class {number.max()}", f"classes 0..{len(labels) - 1} of {image['meta_path']}")
    return labels[number], np.where(told_apart[number], values + 1, 0)  # an instance may be number 0 of class 0


def _labels(layout: Streets, names: list) -> tuple[np.ndarray, np.ndarray]:
    """Label id of each of a data set's classes ``names``, uint8 (N,), and whether its instances are told apart."""
    ours = [layout.classes.get(name, "void" if str(name).startswith("void") else "") for name in names]
    labels = {"void": VOID, "": OTHER}
    ids = [labels[name] if name in labels else label_id(name.removesuffix(GROUP)) for name in ours]
    return np.array(ids, np.uint8), np.array([not name.endswith(GROUP) and name not in labels for name in ours])


BDD100K = Streets("bdd100k", {"instance_path": _read_bdd100k})
VISTAS = Streets("vistas", {"instance_path": _read_vistas})
STREETS = {layout.name: layout for layout in (BDD100K, VISTAS)}
