import pytest

from edgeopt.core.errors import ConfigError
from edgeopt.data.preprocess import LogMel, Preprocess


def test_every_key_is_read() -> None:
    table = {
        "color": "gray", "resize": [32, 48], "crop": [28, 28], "scale": 1, "mean": 0.5, "std": [0.2, 0.3],
        "layout": "NHWC", "sample_rate": 8000, "mono": False,
        "log_mel": {"bands": 40, "window_ms": 25, "hop_ms": 10},
    }  # fmt: skip
    assert Preprocess.parse(table) == Preprocess(
        "gray", (32, 48), (28, 28), 1.0, (0.5,), (0.2, 0.3), "NHWC", 8000, LogMel(40, 25, 10), False
    )


@pytest.mark.parametrize(
    "table",
    [{"colour": "gray"}, {"color": "cmyk"}, {"resize": 32}, {"resize": [32]}, {"resize": [0, 3]},
     {"crop": [1.5, 2]}, {"scale": "big"}, {"scale": float("nan")}, {"mean": []},
     {"mean": ["a"]}, {"std": [1, 0]},
     {"layout": "CHWN"}, {"sample_rate": 0}, {"sample_rate": True}, {"log_mel": {"bands": 4}},
     {"log_mel": 40}, {"mono": 1},
     {"log_mel": {"bands": 0, "window_ms": 25, "hop_ms": 10}},
     {"log_mel": {"bands": 4, "window_ms": 0, "hop_ms": 10}}],
)  # fmt: skip
def test_an_unknown_key_or_value_is_wrong_usage(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(table))):
        Preprocess.parse(table)


def test_the_known_keys_are_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        Preprocess.parse({"colour": "gray"})
    assert "color" in (caught.value.hint or "")
