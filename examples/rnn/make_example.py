"""Make `model.onnx` and `data/`: which of four telephone voices speaks, from half a second of raw audio.

The speech is real: Debian's Asterisk prompts in four languages, at 8 kHz. Prompts (not windows) are split
into training, calibration, search and confirm, so no part has heard another one's recordings.

    apt-get download asterisk-core-sounds-{en,fr,it,ru}-wav=1.6.1-1
    for deb in asterisk-core-sounds-*.deb; do dpkg-deb -x $deb sounds; done
    pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.28.0 soundfile==0.14.0
    PYTHONPATH=examples python examples/rnn/make_example.py sounds/usr/share/asterisk/sounds
"""

import argparse
import pathlib
import shutil

import numpy as np
import soundfile
import torch
from _recipes import judge
from _training import export, fit, split, start
from torch import Tensor, nn

HERE = pathlib.Path(__file__).parent
SAMPLE_RATE_HZ = 8000
WINDOW = 4000  # samples, 0.5 s
VOICES = {
    "english": "en_US_f_Allison",
    "french": "fr_CA_f_June",
    "italian": "it_IT_m_Carlo",
    "russian": "ru_RU_f_IvrvoiceRU",
}
PROMPTS = {"calibration": 128, "search": 330, "confirm": 560}
WINDOWS_PER_PROMPT = {"calibration": 1, "search": 1, "confirm": 2, "train": 200}


def loud_windows(wave: np.ndarray, limit: int, hop: int = WINDOW) -> list[np.ndarray]:
    """At most `limit` windows, loudest first; one below 1 % of full scale is silence."""
    starts = range(0, len(wave) - WINDOW + 1, hop)
    windows = sorted((wave[at : at + WINDOW] for at in starts), key=lambda w: -np.square(w).mean())
    return [w for w in windows[:limit] if np.square(w).mean() ** 0.5 > 0.01]


def hop(part: str) -> int:
    """Only training windows overlap."""
    return WINDOW // 4 if part == "train" else WINDOW


def to_bytes(window: np.ndarray) -> np.ndarray:
    """8-bit unsigned PCM, scaled to full range."""
    return np.round(window / np.abs(window).max() * 127 + 128).astype(np.uint8)


def read_prompts(source: pathlib.Path) -> list[tuple[int, np.ndarray]]:
    """(class, wave) of every prompt; two recordings of one file name stay two prompts."""
    prompts = []
    for label, folder in enumerate(VOICES.values()):
        for path in sorted((source / folder).rglob("*.wav")):
            wave = soundfile.read(path, dtype="float32")[0]
            if "silence" not in path.parts and loud_windows(wave, 1):
                prompts.append((label, wave))
    return prompts


class VoiceNet(nn.Module):
    """(N, 4000) waveform -> three strided convolutions -> LSTM -> GRU -> (N, 4) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, 64, 40, stride=10, padding=15, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Conv1d(64, 96, 7, stride=4, padding=3, bias=False),
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.Conv1d(96, 96, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.lstm = nn.LSTM(96, 144, batch_first=True)
        self.gru = nn.GRU(144, 96, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(96, len(VOICES))

    def forward(self, wave: Tensor) -> Tensor:
        frames = self.front(wave.unsqueeze(1)).transpose(1, 2)
        steps, _ = self.gru(self.lstm(frames)[0])
        return self.head(self.dropout(steps.mean(dim=1)))


def augment(batch: Tensor) -> Tensor:
    """Random gain, polarity and noise."""
    gain = torch.empty(len(batch), 1).uniform_(0.6, 1.0) * torch.randint(0, 2, (len(batch), 1)).mul(2).sub(1)
    return batch * gain + torch.randn_like(batch) * torch.empty(len(batch), 1).uniform_(0, 0.02)


def to_tensor(windows: list[np.ndarray]) -> Tensor:
    """What a WAV reader decodes 8-bit PCM to: [-1, 1)."""
    return torch.from_numpy((np.stack(windows).astype(np.float32) - 128) / 128)


def main() -> None:
    """Read the package, train, export, write the parts and judge the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="folder that holds en_US_f_Allison and the others")
    rng = start(seed=0)
    prompts = read_prompts(parser.parse_args().source)
    *held_out, rest = split(len(prompts), list(PROMPTS.values()), rng)
    parts = dict(zip([*PROMPTS, "train"], [*held_out, rest], strict=True))
    data = {
        part: [
            (prompts[i][0], to_bytes(window))
            for i in chosen
            for window in loud_windows(prompts[i][1], WINDOWS_PER_PROMPT[part], hop(part))
        ]
        for part, chosen in parts.items()
    }
    train = data.pop("train")
    inputs, labels = to_tensor([w for _, w in train]), torch.tensor([label for label, _ in train])
    print(f"{len(prompts)} prompts, {len(train)} training windows")
    model = fit(VoiceNet(), inputs, labels, epochs=8, learning_rate=3e-3, augment=augment)
    export(model, inputs[:1], HERE / "model.onnx", "waveform")

    shutil.rmtree(HERE / "data", ignore_errors=True)
    for part, samples in data.items():
        for number, (label, window) in enumerate(samples):
            path = HERE / "data" / part / list(VOICES)[label] / f"{number:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            centred = (window.astype(np.int16) - 128) * 256
            soundfile.write(path, centred.astype(np.int16), SAMPLE_RATE_HZ, subtype="PCM_U8")
    print("\n".join(judge(HERE)))


if __name__ == "__main__":
    main()
