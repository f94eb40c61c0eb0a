"""Imports what the on-board runner and the runtimes import, so that Python keeps it compiled."""

import ctypes  # noqa: F401
import hashlib  # noqa: F401
import importlib.metadata
import json  # noqa: F401
import platform  # noqa: F401
import resource  # noqa: F401
import select  # noqa: F401
import shutil  # noqa: F401
import statistics  # noqa: F401
import subprocess  # noqa: F401
import tempfile  # noqa: F401
import zipfile  # noqa: F401

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

assert onnxruntime.get_available_providers() == ["CPUExecutionProvider"] or onnxruntime.__version__  # noqa: S101
assert Interpreter and np.random.default_rng(0).random() < 1  # noqa: S101
importlib.metadata.version("onnxruntime")
