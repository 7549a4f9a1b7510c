"""Section 4.2 of the paper: how many real and synthetic images, and which.

Images are ranked by a hash of (seed, domain, name) and the first n are taken: the choice does not depend on the order
of the list, and with the same seed a set with more images of a domain contains every set with fewer.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple


class Composition(NamedTuple):
    """Numbers of images in a training set."""

    real: int
    synthetic: int


def choose(ids: Iterable[str], wanted: int | tuple[str, ...], *, seed: int, domain: str) -> list[str]:
    """``wanted`` images of a pool without replacement, in the order of their ranks; or exactly those of a tuple of ids.

    Raises ``ValueError`` if the pool is smaller than the number asked for, lacks a given image, or lists one twice.
    """
    pool = list(ids)
    if isinstance(wanted, tuple):
        if missing := sorted(set(wanted) - set(pool)):
            listed = ", ".join(missing[:5])
            raise ValueError(f"{len(missing)} of {len(wanted)} {domain} images wanted do not exist: {listed}")
        return list(wanted)
    if len(set(pool)) < len(pool):
        raise ValueError(f"{len(pool) - len(set(pool))} {domain} images are listed twice, expected each once")
    if not 0 <= wanted <= len(pool):
        raise ValueError(f"{wanted} {domain} images wanted, but there are {len(pool)}; choose fewer")
    return sorted(pool, key=lambda image: hashlib.sha256(f"{seed} {domain} {image}".encode()).digest())[:wanted]


def composition_for_ratio(total: int, real_fraction: float) -> Composition:
    """``real_fraction`` (0..1) of ``total`` images are real, rounded (halves up), the others synthetic: Figure 5."""
    if not 0 <= real_fraction <= 1:
        raise ValueError(f"real_fraction={real_fraction}: expected a number in [0, 1]")
    real = int(total * real_fraction + 0.5 + 1e-9)
    return Composition(real, total - real)


def composition_for_budget(iterations: int, batch_size: int, epochs: float, real: int, synthetic: int) -> Composition:
    """The rule below Table 3 of the paper: all real images, and as many synthetic ones as can be seen ``epochs`` times.

    ``real``, ``synthetic``: the images there are. 80,000 iterations of 8 images are 50 epochs on 12,800 images: 2,975
    real and 9,825 synthetic ones. All real images are used even when they cannot be seen that often: the paper finds
    that leaving out real images never helps.
    """
    for name, value in {"iterations": iterations, "batch_size": batch_size, "epochs": epochs}.items():
        if value <= 0:
            raise ValueError(f"{name}={value}: expected a number above 0")
    images = int(iterations * batch_size / epochs)
    return Composition(real, min(max(0, images - real), synthetic))
