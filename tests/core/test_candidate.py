from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.candidate import Candidate

DECISIONS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=6)


@given(DECISIONS, st.randoms(use_true_random=False))
def test_the_order_of_decisions_does_not_matter(decisions: dict[str, str], random: object) -> None:
    shuffled = list(decisions.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Candidate.of("model", decisions), Candidate.of("model", dict(shuffled))
    assert one == other
    assert one.key == other.key


def test_the_key_depends_on_the_model_and_on_every_decision() -> None:
    keys = {
        Candidate.of("a", {"precision@/x": "int8"}).key,
        Candidate.of("b", {"precision@/x": "int8"}).key,
        Candidate.of("a", {"precision@/x": "float32"}).key,
        Candidate.of("a", {"precision@/y": "int8"}).key,
        Candidate.of("a", {}).key,
    }
    assert len(keys) == 5


def test_an_undecided_site_answers_with_what_was_asked_for() -> None:
    assert Candidate.of("a", {}).chosen("runtime:threads") is None
    assert Candidate.of("a", {}).chosen("runtime:threads", "4") == "4"
