import re
import tomllib
from pathlib import Path

from edgeopt.data.metrics import BUILT_IN
from edgeopt.data.preprocess import Preprocess

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_preprocessing_that_is_documented_is_understood() -> None:
    tables = [
        tomllib.loads(block)["data"]["preprocess"] for block in re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    ]
    assert len(tables) == 2
    assert {key for table in tables for key in table} == set(Preprocess.__dataclass_fields__)
    for table in tables:
        Preprocess.parse(table)


def test_every_metric_is_documented() -> None:
    section = PAGE.split("## Metrics")[1].split("##")[0]
    assert set(BUILT_IN) <= set(re.findall(r"`(\w+)`", section))
