import inspect

import pytest

from edgeopt.core import errors

ALL = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.EdgeoptError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_root_a_kind_and_a_documented_exit_code(kind: type[errors.EdgeoptError]) -> None:
    error = kind("what went wrong", "what to do")
    assert (error.message, error.hint, str(error)) == ("what went wrong", "what to do", "what went wrong")
    assert error.exit_code in (1, 2, 3, 4, 6)
    assert error.kind


def test_the_exit_codes_are_the_documented_ones() -> None:
    codes = {
        errors.EdgeoptError: 1, errors.ConfigError: 2, errors.StudyError: 2, errors.ModelError: 3,
        errors.RewriteError: 3, errors.DataError: 3, errors.BoardError: 4, errors.ConnectError: 4,
        errors.SignatureError: 6,
    }  # fmt: skip
    assert {kind: kind.exit_code for kind in codes} == codes


def test_a_bad_candidate_is_not_a_bad_board() -> None:
    assert not issubclass(errors.CandidateFailed, errors.BoardError)
