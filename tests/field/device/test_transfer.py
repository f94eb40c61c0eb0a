"""What `edgeopt deploy` sends: only what is missing, from where it stopped, nothing that was not listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.field.device.agents import Agent, Answer
from tests.field.device.packages import Vendor

PAD = 300_000


def stage(agent: Agent, vendor: Vendor, counter: int, **changes: object) -> tuple[Answer, dict[str, bytes]]:
    opening, files = vendor.opening(counter, **changes)
    return agent.do("stage", stdin=json.dumps(opening).encode()), files


def stream(answer: Answer, files: dict[str, bytes]) -> bytes:
    """All that is missing, as `deploy` sends it."""
    sent = b""
    for one in answer["missing"]:
        head = {key: one[key] for key in ("sha256", "length", "offset")}
        sent += json.dumps(head).encode() + b"\n" + files[one["path"]][one["offset"] :]
    return sent + b"{}\n"


def test_a_release_is_staged_received_and_installed(agent: Agent, vendor: Vendor) -> None:
    answer, files = stage(agent, vendor, 1)
    assert (answer["product"], answer["counter"], answer["variant"]) == ("oven", 1, "plain")
    assert answer["installed"] is False
    paths = [one["path"] for one in answer["missing"]]
    assert sorted(paths) == ["golden/inputs.npz", "golden/plain/outputs.npz", "variants/plain/model.onnx",
                             "variants/plain/session.json"]  # fmt: skip
    received = agent.good("receive", answer["staging"], stdin=stream(answer, files))
    assert (len(received["received"]), received["damaged"]) == (4, [])
    assert agent.good("install", "--from-staging", answer["staging"])["state"] == "good"
    assert stage(agent, vendor, 1)[0]["installed"] is True


def test_what_is_there_is_not_sent_again(agent: Agent, vendor: Vendor) -> None:
    answer, files = stage(agent, vendor, 1)
    agent.good("receive", answer["staging"], stdin=stream(answer, files))
    agent.good("install", "--from-staging", answer["staging"])
    update, _ = stage(agent, vendor, 2, add=2)
    assert {one["path"] for one in update["missing"]} == {
        "golden/plain/outputs.npz",
        "variants/plain/model.onnx",
    }


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_transfer_that_broke_goes_on_where_it_stopped(agent: Agent, vendor: Vendor, share: float) -> None:
    answer, files = stage(agent, vendor, 1, pad=PAD)
    whole = stream(answer, files)
    broken = agent.do("receive", answer["staging"], stdin=whole[: int(share * len(whole))])
    assert (broken.code, broken["error"]["kind"]) == (4, "connect")
    again, _ = stage(agent, vendor, 1, pad=PAD)
    assert again["staging"] == answer["staging"]
    rest = stream(again, files)
    assert len(rest) < len(whole) * (1.01 - share) + 1000
    agent.good("receive", again["staging"], stdin=rest)
    assert agent.good("install", "--from-staging", again["staging"])["counter"] == 1


def test_damage_on_the_way_is_noticed_and_sent_once_more(agent: Agent, vendor: Vendor) -> None:
    answer, files = stage(agent, vendor, 1)
    sent = stream(answer, {**files, "variants/plain/model.onnx": files["variants/plain/model.onnx"][::-1]})
    received = agent.good("receive", answer["staging"], stdin=sent)
    (damaged,) = received["damaged"]
    assert [one["path"] for one in answer["missing"] if one["sha256"] == damaged] == [
        "variants/plain/model.onnx"
    ]
    refused = agent.do("install", "--from-staging", answer["staging"])
    assert "has not arrived" in refused["error"]["message"]
    again, _ = stage(agent, vendor, 1)
    agent.good("receive", again["staging"], stdin=stream(again, files))
    assert agent.good("install", "--from-staging", again["staging"])["counter"] == 1


@pytest.mark.parametrize(
    "head",
    [
        {"sha256": "0" * 64, "length": 3, "offset": 0},
        {"sha256": "../../../evil", "length": 3, "offset": 0},
        {"length": 3},
        [1],
        {"sha256": "MODEL", "length": 1 << 40, "offset": 0},
        {"sha256": "MODEL", "length": "LENGTH", "offset": -1},
        {"sha256": "MODEL", "length": "LENGTH", "offset": "LENGTH"},
    ],
)
def test_only_what_the_release_lists_is_taken(agent: Agent, vendor: Vendor, head: object) -> None:
    answer, _ = stage(agent, vendor, 1)
    model = next(one for one in answer["missing"] if one["path"].endswith("model.onnx"))
    text = json.dumps(head).replace('"LENGTH"', str(model["length"])).replace("MODEL", model["sha256"])
    before = agent.files()
    refused = agent.do("receive", answer["staging"], stdin=text.encode() + b"\nabc{}\n")
    assert refused.code in (2, 6)
    # An empty beginning of the model may stay, nothing else.
    assert {Path(name).suffix for name in agent.files() - before} <= {".part"}


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b'{"metadata": {}, "manifest": ""}', b'{"metadata": 3}'])
def test_an_opening_that_is_none_is_refused(agent: Agent, said: bytes) -> None:
    assert agent.do("stage", stdin=said).code in (2, 6)


def test_a_release_that_does_not_fit_is_refused_before_anything_is_sent(agent: Agent, vendor: Vendor) -> None:
    answer, _ = stage(agent, vendor, 1, requires={"machine": ["vax"]})
    assert (answer.code, answer["error"]["kind"]) == (3, "model")
    assert "machine vax" in answer["error"]["message"]
    assert agent.good("have")["objects"] == []


def test_staging_that_is_not_there_is_named(agent: Agent) -> None:
    assert agent.do("install", "--from-staging", "0" * 64).error[1].startswith("nothing is staged")
    assert agent.do("receive", "../../etc").code == 2


def test_what_is_staged_is_verified_again_when_it_is_installed(agent: Agent, vendor: Vendor) -> None:
    answer, files = stage(agent, vendor, 1)
    agent.good("receive", answer["staging"], stdin=stream(answer, files))
    place = agent.root / "staging" / answer["staging"] / "metadata" / "targets.json"
    place.write_bytes(place.read_bytes().replace(b'"version":1', b'"version":2'))
    refused = agent.do("install", "--from-staging", answer["staging"])
    assert (refused.code, agent.serving) == (6, None)
