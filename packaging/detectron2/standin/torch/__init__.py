"""Stand-in for PyTorch with what Detectron2's setup.py reads, so that pip can ask it for its name and version.

Only the child process that downloads the source distribution sees this package.
"""

from setuptools.dist import Distribution

__version__ = "2.11.0"


class cuda:
    """No GPU is asked for: nothing is compiled."""

    @staticmethod
    def is_available() -> bool:
        return False


class version:
    """Neither CUDA nor ROCm."""

    cuda = hip = None


# setup.py names an optional package by its URL, and pip 26.3 refuses any package from PyPI that does.
_initialise = Distribution.__init__


def _initialise_without_extras(self: Distribution, attrs: dict | None = None) -> None:
    _initialise(self, {key: value for key, value in (attrs or {}).items() if key != "extras_require"})


Distribution.__init__ = _initialise_without_extras
