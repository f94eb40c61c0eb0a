from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile

FACT = '{ value = 4, unit = "cores", source = "datasheet", confidence = "high" }'


def read(tmp_path: Path, text: str) -> DeviceProfile:
    path = tmp_path / "toaster.toml"
    path.write_text(text)
    return DeviceProfile.read(path)


def test_a_fact_carries_unit_source_and_confidence(tmp_path: Path) -> None:
    profile = read(tmp_path, f'title = "A toaster"\n[cpu]\ncores = {FACT}\n')
    fact = profile.fact("cpu", "cores")
    assert (profile.name, profile.title) == ("toaster", "A toaster")
    assert fact is not None
    assert (fact.value, fact.unit, fact.source, fact.confidence) == (4, "cores", "datasheet", "high")


def test_what_is_not_said_is_unknown(tmp_path: Path) -> None:
    profile = read(tmp_path, f'title = "A toaster"\n[cpu]\ncores = {FACT}\n')
    assert profile.get("cpu", "clock_ghz") is None
    assert profile.get("toast", "slices") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[cpu]\n", "no title"),
        ('title = "x"\n[cpu]\ncores = 4\n', r"cpu\.cores needs exactly"),
        ('title = "x"\n[cpu]\ncores = { value = 4, unit = "" }\n', "needs exactly"),
        (f'title = "x"\n[cpu]\ncores = {FACT.replace("high", "sure")}\n', "confidence is"),
        ('title = "x"\n[cpu\n', "cannot read"),
        ('title = "x"\ncpu = 4\n', "cpu"),
    ],
)
def test_a_malformed_profile_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(tmp_path, text)


@given(st.binary(max_size=40))
def test_no_file_content_escapes_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("profiles") / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        DeviceProfile.read(path)


def test_a_missing_file_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        DeviceProfile.read(tmp_path / "gone.toml")
