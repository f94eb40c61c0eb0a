"""Imports what the on-board runner and the runtimes import, so that Python keeps it compiled."""

import ctypes
import hashlib
import importlib.metadata
import json
import platform
import resource
import select
import shutil
import statistics
import subprocess
import tempfile
import typing
import zipfile

import numpy
import numpy.random
import onnxruntime
from ai_edge_litert import interpreter

__all__ = [
    "ctypes", "hashlib", "importlib", "interpreter", "json", "numpy", "onnxruntime", "platform", "resource",
    "select", "shutil", "statistics", "subprocess", "tempfile", "typing", "zipfile",
]  # fmt: skip
