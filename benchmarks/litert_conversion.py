"""How long it takes to make LiteRT files of MobileNetV2: the first one, then each recipe.

`python benchmarks/litert_conversion.py [MODEL]`: names of `published_networks`. The tools must be installed;
every time includes what a study does besides: comparing outputs, running the result once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from emulation_counts import Samples, _float

from edgeopt.core.candidate import RUNTIME
from edgeopt.core.space import SearchSpace
from edgeopt.graph.builder import Builder
from edgeopt.graph.litert.builder import LiteRtBuilder
from edgeopt.graph.litert.environment import environment
from edgeopt.graph.litert.recipes import RECIPES
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import freeze, load
from edgeopt.graph.space import search_space

FIRST_S, NEXT_S = 6.0, 1.0
"""What the first file and one recipe, and what each further recipe may take."""


def main(name: str) -> int:
    """Print a table; the exit code tells whether the aims were reached."""
    model = freeze(load(_float(name)), {})
    space = search_space(model, lossy=True, cores=4, runtimes=("onnxruntime", "litert"))
    tools = environment(print)
    with tempfile.TemporaryDirectory() as folder, Worker(tools) as worker:
        litert = LiteRtBuilder(space, worker, Path(folder) / "litert", Samples(), lambda: (), {})
        builder = Builder(model, space, None, Path(folder), 23, 12, litert=litert)
        first_s = seconds(builder, space, None)
        print(f"{'float32, with the start of the tools':38} {first_s:6.2f} s")
        missed = 0
        for number, recipe in enumerate(RECIPES):
            took_s = seconds(builder, space, recipe)
            aim_s = FIRST_S - first_s if number == 0 else NEXT_S
            missed += took_s > aim_s
            print(f"{recipe:38} {took_s:6.2f} s   {'' if took_s <= aim_s else f'more than {aim_s:.2f} s'}")
    return 1 if missed else 0


def seconds(builder: Builder, space: SearchSpace, recipe: str | None) -> float:
    """What it takes to build the whole model by a recipe."""
    chosen = {p.site: recipe for p in space.points if recipe in p.offered("litert")} if recipe else {}
    candidate = space.candidate({RUNTIME: "litert", **chosen})
    begun = time.perf_counter()
    builder.build(candidate)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["mobilenet_v2"])))
