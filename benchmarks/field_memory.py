"""What the agent of field devices takes in memory: `python benchmarks/field_memory.py`.

Installs, updates and pulls a package whose model has `--megabytes` (100 by default, a 25 M-parameter float32
model) in the agent's own process and its children, with the real ONNX Runtime, and prints for each command
peak resident memory of the agent's process, and by how much that of the self-test's process is above one that
loads the same model with the runtime alone. Promised: at most 60 MB each.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from tests.field.device.packages import Vendor

SCRIPT = pathlib.Path(__file__).parent.parent / "firmware_scripts" / "edgeopt_field.py"
PROMISED_MB = 60
WIDTH = 1024

BARE = """
import sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, {"x": numpy.zeros((1, WIDTH), numpy.float32)})
print(1024 * int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]))
""".replace("WIDTH", str(WIDTH))

AGENT = """
import runpy, sys, os
sys.argv = sys.argv[1:]
leave = os._exit
def told(status):
    os.write(2, open("/proc/self/status").read().partition("VmHWM:")[2].split()[0].encode())
    leave(status)
os._exit = told
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def chain(megabytes: int, seed: int) -> bytes:
    """A model of so many MB of weights."""
    layers = max(1, round(megabytes * 1e6 / (4 * WIDTH * WIDTH)))
    weights = np.random.default_rng(seed).normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)
    names = ["x", *(f"h{n}" for n in range(1, layers)), "y"]
    shape = [1, WIDTH]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(layers)],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.roll(weights, n), f"w{n}") for n in range(layers)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def outputs(model: bytes, x: np.ndarray) -> np.ndarray:
    """What the runtime computes here, sample by sample."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": one})[0] for one in x])


def agent(root: pathlib.Path, *words: str, stdin: bytes = b"") -> tuple[dict, int]:
    """A command's answer, and the peak memory of the agent's process in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", AGENT, str(SCRIPT), "--root", str(root), *words],
        input=stdin, capture_output=True, env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{words[0]} failed: {done.stdout.decode()}{done.stderr.decode()}")
    return json.loads(done.stdout), 1024 * int(done.stderr)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    asked = parser.parse_args()
    vendor = Vendor()
    with tempfile.TemporaryDirectory() as made:
        folder, rows = pathlib.Path(made), []
        agent(folder / "device", "trust", stdin=vendor.roots[0])
        for counter in (1, 2):
            model, x = chain(asked.megabytes, counter), np.zeros((4, 1, WIDTH), np.float32)
            x[:] = np.random.default_rng(counter).normal(size=x.shape)
            package = vendor.package(
                folder / f"{counter}.edgepkg", counter, model=model, x=x, y=outputs(model, x)
            )
            answer, peak = agent(folder / "device", "install", str(package))
            (folder / "model.onnx").write_bytes(model)
            bare = subprocess.run(
                [sys.executable, "-c", BARE, str(folder / "model.onnx")], capture_output=True, check=True
            )
            above = answer["selftest"]["peak_rss_bytes"] - int(bare.stdout)
            rows.append(("install" if counter == 1 else "update", peak, above))
        for word in ("boot", "status", "rollback"):
            _, peak = agent(folder / "device", word)
            rows.append((word, peak, None))
    print(f"a model of {asked.megabytes} MB; at most {PROMISED_MB} MB are promised")
    print(f"{'command':<10} {'agent, MB':>10} {'self-test above the runtime, MB':>32}")
    for word, peak, above in rows:
        print(f"{word:<10} {peak / 1e6:>10.1f} {'' if above is None else format(above / 1e6, '.1f'):>32}")
    worst = max(max(peak, above or 0) for _, peak, above in rows) / 1e6
    if worst > PROMISED_MB:
        sys.exit(f"more than promised: {worst:.1f} MB")


if __name__ == "__main__":
    main()
