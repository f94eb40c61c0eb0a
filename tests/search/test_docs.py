"""The example in docs/adding-a-sampler.md is a sampler."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from edgeopt.testing import samplers

DOCS = Path(__file__).parents[2] / "docs" / "adding-a-sampler.md"


def test_the_example_passes_the_conformance_suite():
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    module = ModuleType("greedy")
    exec(code, module.__dict__)
    samplers.check(module)
