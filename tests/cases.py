"""Random small images and predictions that reach every rule of the Cityscapes instance metric."""

import numpy as np

from scapes import png
from scapes.labels import LABEL_IDS
from scapes.match import PREDICTION, TRUTH, Records, match_image
from scapes.predictions import Detections, from_masks

CARAVAN, TRAILER = 29, 30
PLAIN = (0, 3, 4, 7, 9, 11, 23, 24, 26, 28, CARAVAN, TRAILER)  # void, stuff, groups
WITH_INSTANCES = (24, 24, 25, 26, 26, 26, 27, 33, CARAVAN, TRAILER)


def draw_map(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An instance map of rectangles, uint16: instances, groups, void, caravans; many hidden, cut or of one pixel."""
    frame = np.full((height, width), rng.choice(PLAIN), np.uint16)
    for _ in range(rng.integers(0, 12)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(1, height // 2 + 1), rng.integers(1, width // 2 + 1)
        plain = rng.random() < 0.35
        value = rng.choice(PLAIN) if plain else rng.choice(WITH_INSTANCES) * 1000 + rng.integers(0, 4)
        frame[y : y + h, x : x + w] = value
    return frame


def predict(rng: np.random.Generator, frame: np.ndarray) -> list[tuple[int, float, np.ndarray]]:
    """Label id, score (often equal ones) and mask: exact, moved, thinned, empty, anywhere, of a wrong class, twice."""
    return [_predict_one(rng, frame) for _ in range(rng.integers(0, 12))]


def _predict_one(rng: np.random.Generator, frame: np.ndarray) -> tuple[int, float, np.ndarray]:
    score = float(np.float32(rng.choice([0.25, 0.5, rng.random()])))
    if rng.random() < 0.2:
        mask = np.zeros(frame.shape, bool)
        y, x = rng.integers(0, frame.shape[0]), rng.integers(0, frame.shape[1])
        mask[y : y + rng.integers(0, 9), x : x + rng.integers(1, 9)] = True
        return int(rng.choice([24, 26, CARAVAN])), score, mask
    target = int(rng.choice(np.unique(frame)))
    mask = frame == target
    if rng.random() < 0.5:
        mask = np.roll(mask, rng.integers(-2, 3, 2), (0, 1))
    if rng.random() < 0.3:
        mask &= rng.random(frame.shape) < rng.choice([0.5, 0.55, 0.6, 0.9])
    label_id = target // 1000 if target >= 1000 else target
    if label_id not in LABEL_IDS or rng.random() < 0.15:
        label_id = int(rng.choice([*LABEL_IDS, 26, CARAVAN]))
    return label_id, score, mask


def as_detections(image_id: str, frame: np.ndarray, predictions: list) -> Detections:
    """The predictions of the eight classes; the official evaluator skips those of others."""
    kept = [item for item in predictions if item[0] in LABEL_IDS]
    category = [LABEL_IDS.index(label_id) for label_id, _, _ in kept]
    scores, masks = [score for _, score, _ in kept], [mask for _, _, mask in kept]
    return from_masks(image_id, frame.shape, category, scores, masks)


def draw_data_set(rng: np.random.Generator, folder, images: int | list[str]) -> tuple[list, list, list[Detections]]:
    """Paths of the written maps of so many images, or of these, official predictions, and the same as detections."""
    ids = range(images) if isinstance(images, int) else images
    height, width = rng.integers(4, 24, 2)
    frames = [draw_map(rng, height, width) for _ in ids]
    predictions = [predict(rng, frame) for frame in frames]
    paths = [folder / f"{image_id}.png" for image_id in ids]
    for path, frame in zip(paths, frames, strict=True):
        png.write(path, frame)
    return paths, predictions, [as_detections(p.stem, f, q) for p, f, q in zip(paths, frames, predictions, strict=True)]


def matched(paths, detections, **options) -> list[Records]:
    return [match_image(png.read(p, "gray 16"), item, **options) for p, item in zip(paths, detections, strict=True)]


def simulate(rng, images, skill=0.0, classes=2):
    """Records of a detector that finds a truth with a fixed chance, with noisy scores and false positives."""
    records = []
    for number in range(images):
        count, extra = rng.poisson(6), rng.poisson(3)
        truths, predictions = np.zeros(count, TRUTH), np.zeros(count + extra, PREDICTION)
        truths["category"], truths["evaluated"] = rng.integers(0, classes, count), True
        truths["instance_id"], truths["area_px"] = 24000 + np.arange(count), 500
        predictions["category"][:count], predictions["truth"][:count] = truths["category"], np.arange(count)
        predictions["category"][count:], predictions["truth"][count:] = rng.integers(0, classes, extra), -1
        predictions["iou"][:count] = np.clip(rng.normal(0.7 + skill, 0.2, count), 0, 1)
        predictions["score"] = rng.random(count + extra) * 0.7 + 0.3 * (predictions["iou"] > 0.6)
        counts = np.array([[count, count + extra]])
        records.append(Records(np.array([f"{number:05d}"]), np.array([100]), truths, predictions, counts))
    return records
