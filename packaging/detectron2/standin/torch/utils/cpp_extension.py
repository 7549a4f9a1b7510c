"""The names that Detectron2's setup.py imports; setuptools' own classes will do, since nothing is compiled."""

from setuptools import Extension as CUDAExtension
from setuptools import Extension as CppExtension
from setuptools.command.build_ext import build_ext as BuildExtension

CUDA_HOME = ROCM_HOME = None

__all__ = ["CUDA_HOME", "ROCM_HOME", "BuildExtension", "CUDAExtension", "CppExtension"]
