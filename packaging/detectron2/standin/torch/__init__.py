"""Stand-in for PyTorch with what Detectron2's setup.py reads, so that pip can ask it for its name and version.

Only the child process that downloads the source distribution sees this package.
"""

__version__ = "2.11.0"


class cuda:
    """No GPU is asked for: nothing is compiled."""

    @staticmethod
    def is_available() -> bool:
        return False


class version:
    """Neither CUDA nor ROCm."""

    cuda = hip = None
