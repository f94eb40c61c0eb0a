"""Stands in for ONNX Runtime where a model has to start at once, or to misbehave: its file says what it does.

`{"add": 3}`: adds 3 to its input. `sleep_ms`, `exit`, `raise`: what else an inference does.
"""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

GraphOptimizationLevel = int
SessionOptions = SimpleNamespace


class InferenceSession:
    def __init__(self, model, options, providers):
        self.does = json.loads(Path(model).read_bytes().rstrip(b"\0"))
        if "refuse" in self.does:
            raise RuntimeError(self.does["refuse"])

    def get_outputs(self):
        return [SimpleNamespace(name="y")]

    def run(self, names, feeds):
        time.sleep(self.does.get("sleep_ms", 0) / 1e3)
        if "exit" in self.does:
            os._exit(self.does["exit"])
        return [(feeds["x"] + self.does["add"]).astype("float32")]
