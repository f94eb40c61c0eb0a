"""The calibration samples of a subject, written out for tools that know nothing of edgeopt."""

from __future__ import annotations

import contextlib

import numpy as np

from benchmarks.rivals.layout import Layout
from edgeopt.cli.settings import optimize_options, settings
from edgeopt.optimize.inputs import Inputs, open_inputs
from edgeopt.options import OptimizeOptions


def options(layout: Layout, subject: str) -> OptimizeOptions:
    """What the subject's project file says."""
    with contextlib.chdir(layout.project(subject)):
        return optimize_options(settings({}), fresh=False, command="")


def write(layout: Layout, subject: str) -> Inputs:
    """Write the samples that edgeopt calibrates on, as one inference takes them."""
    with contextlib.chdir(layout.project(subject)):
        inputs = open_inputs(options(layout, subject))
        samples = list(inputs.calibration.samples())
    np.savez(layout.feeds(subject), **{name: np.stack([s[name] for s in samples]) for name in samples[0]})
    return inputs
