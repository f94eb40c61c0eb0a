import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.space import DecisionPoint, SearchSpace

NAMES = st.text("abcxyz/_0189", min_size=1, max_size=8)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    sites = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    points = []
    for site in sites:
        options = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        points.append(DecisionPoint(f"precision@{site}", tuple(options), draw(st.sampled_from(options))))
    return SearchSpace("digest", tuple(points))


@given(spaces(), st.data())
def test_every_choice_survives_encoding(space: SearchSpace, data: st.DataObject) -> None:
    indices = tuple(data.draw(st.integers(0, len(point.options) - 1)) for point in space.points)
    candidate = space.decode(indices)
    space.validate(candidate)
    assert space.encode(candidate) == indices
    assert space.decode(space.encode(candidate)) == candidate


@given(spaces())
def test_the_default_changes_nothing(space: SearchSpace) -> None:
    default = space.default()
    assert default.changes(default) == {}
    assert all(default.chosen(point.site) == point.default for point in space.points)


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace(
        "digest",
        (
            DecisionPoint("rewrite:fold_batchnorm@/conv", ("off", "on"), "off"),
            DecisionPoint("precision@/conv", ("float32", "int8"), "float32"),
            DecisionPoint("runtime:threads", ("1", "2"), "2"),
        ),
    )


def test_a_site_says_its_family_name_and_region(space: SearchSpace) -> None:
    parts = [(point.family, point.name, point.region) for point in space.points]
    assert parts == [
        ("rewrite", "fold_batchnorm", "/conv"),
        ("precision", None, "/conv"),
        ("runtime", "threads", None),
    ]


def test_what_is_not_decided_keeps_its_default(space: SearchSpace) -> None:
    candidate = space.candidate({"precision@/conv": "int8"})
    assert candidate.changes(space.default()) == {"precision@/conv": "int8"}
    assert candidate.of_family("runtime") == {"runtime:threads": "2"}


@pytest.mark.parametrize(
    ("decisions", "complaint"),
    [
        ({"precision@/gone": "int8"}, "no decision 'precision@/gone'"),
        ({"precision@/conv": "int4"}, "'int4' is not one of float32, int8"),
    ],
)
def test_a_decision_that_the_space_does_not_have_is_refused(
    space: SearchSpace, decisions: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        space.candidate(decisions)


def test_a_candidate_of_another_model_is_refused(space: SearchSpace) -> None:
    with pytest.raises(ConfigError, match="another model"):
        space.validate(Candidate.of("other", {}))


def test_an_incomplete_candidate_is_refused(space: SearchSpace) -> None:
    with pytest.raises(ConfigError, match="rewrite:fold_batchnorm@/conv: None"):
        space.validate(Candidate.of("digest", {"runtime:threads": "1", "precision@/conv": "int8"}))


def test_a_point_whose_default_is_no_option_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        DecisionPoint("runtime:threads", ("1", "2"), "4")


def test_two_points_of_one_site_cannot_be_in_a_space() -> None:
    point = DecisionPoint("runtime:threads", ("1",), "1")
    with pytest.raises(ValueError, match="share a site"):
        SearchSpace("digest", (point, point))


def test_a_withheld_point_is_left_out_at_its_default_and_checked_elsewhere(space: SearchSpace) -> None:
    withheld = DecisionPoint("recovery", ("refitted", "distilled"), "refitted")
    wider = SearchSpace("digest", space.points, withheld=(withheld,))
    assert wider.default() == space.default() == wider.candidate({"recovery": "refitted"})
    distilled = wider.candidate({"recovery": "distilled"})
    assert distilled.is_distilled
    assert not wider.default().is_distilled
    assert wider.encode(distilled) == wider.encode(wider.default())
    assert distilled.changes(wider.default()) == {"recovery": "distilled"}
    with pytest.raises(ConfigError, match="magic"):
        wider.candidate({"recovery": "magic"})
    with pytest.raises(ConfigError, match="recovery"):
        space.candidate({"recovery": "distilled"})
