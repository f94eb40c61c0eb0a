import hashlib
import subprocess
import sys
from pathlib import Path

from edgeopt.core.digest import CHUNK_BYTES, file_digest, value_digest


def test_a_value_has_the_digest_that_it_had_in_earlier_versions() -> None:
    """Studies on disk are found by it: a change of the digest would lose them all."""
    assert value_digest("model", [("precision@/a", "int8")]) == (
        "12c15bc1f3a0340f947d681736494afa7f22368a486b2f6f389ae59fbefa5063"
    )


def test_the_order_of_keys_does_not_matter_that_of_lists_does() -> None:
    assert value_digest({"a": 1, "b": 2}) == value_digest({"b": 2, "a": 1})
    assert value_digest([1, 2]) != value_digest([2, 1])


def test_another_process_with_another_hash_seed_agrees() -> None:
    program = "from edgeopt.core.digest import value_digest; print(value_digest({'b': 1, 'a': ('x', None)}))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {value_digest({"a": ("x", None), "b": 1}) + "\n"}


def test_a_file_is_hashed_over_chunk_borders(tmp_path: Path) -> None:
    content = bytes(range(256)) * (CHUNK_BYTES // 256) + b"tail"
    (tmp_path / "model.onnx").write_bytes(content)
    assert file_digest(tmp_path / "model.onnx") == hashlib.sha256(content).hexdigest()
