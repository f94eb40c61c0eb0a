"""What a device does with good packages: install, update, go back; and with those that fail there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.field.device.agents import Agent
from tests.field.device.packages import EARLIER, Key, Vendor


def install(agent: Agent, vendor: Vendor, counter: int, **changes: object) -> dict:
    package = vendor.package(agent.root.parent / f"{counter}.edgepkg", counter, **changes)
    return agent.do("install", package)


def test_a_package_is_installed_and_serves(agent: Agent, vendor: Vendor) -> None:
    answer = install(agent, vendor, 1)
    assert (answer.code, answer["state"], answer["counter"], answer["previous"]) == (0, "good", 1, None)
    assert answer["selftest"]["samples"] == 2
    assert answer["selftest"]["latency_ms"] > 0
    assert agent.model == {"add": 1}
    assert (agent.root / "current" / "session.json").is_file()
    status = agent.good("status", "--json")
    assert (status["state"], status["highest_counter"], status["busy"]) == ("good", 1, False)
    assert status["last"]["outcome"] == "good"
    assert (agent.root / "bin" / "edgeopt_field.py").read_bytes() == agent.script.read_bytes()


def test_an_update_is_timed_against_what_serves_and_can_be_taken_back(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 1)
    answer = install(agent, vendor, 2)
    assert (answer["counter"], answer["previous"]) == (2, 1)
    assert answer["selftest"]["serving_latency_ms"] > 0
    back = agent.good("rollback")
    assert (back["counter"], back["previous"], back["changed"]) == (1, 2, True)
    assert agent.model == {"add": 1}
    assert agent.good("rollback", "--from", "2")["changed"] is False  # repeated: it does not go back twice
    assert agent.good("rollback", "--to", "2")["counter"] == 2


def test_a_rollback_without_anything_earlier_says_so(agent: Agent, vendor: Vendor) -> None:
    assert agent.do("rollback").error == ("usage", "nothing is installed here")
    install(agent, vendor, 1)
    assert "no earlier version" in agent.do("rollback").error[1]
    assert agent.do("rollback", "--to", "7").code == 2
    assert agent.serving == 1


def test_an_older_release_is_refused(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 5)
    refused = install(agent, vendor, 4)
    assert (refused.code, refused["error"]["kind"]) == (6, "downgrade")
    same_number = install(agent, vendor, 5, add=6, promised=6)
    assert (same_number.code, same_number["error"]["kind"]) == (6, "downgrade")
    assert agent.serving == 5


def test_after_all_keys_were_replaced_numbers_begin_anew(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 10**13)  # a thief used up the numbers
    vendor.rotate(Key(2))
    assert install(agent, vendor, 7)["counter"] == 7


def test_an_expired_release_is_refused_and_what_serves_does_not_expire(agent: Agent, vendor: Vendor) -> None:
    files = vendor.files(1)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
    from tests.field.device.packages import archive

    def package(counter: int, expires: str) -> Path:
        files = vendor.files(counter)
        path = agent.root.parent / f"{counter}.edgepkg"
        members = [*vendor.metadata(counter, files, expires=expires).items(), *sorted(files.items())]
        path.write_bytes(archive(members))
        return path

    assert files
    assert agent.do("install", package(1, soon)).code == 0
    time.sleep(4)
    refused = agent.do("install", package(2, EARLIER))
    assert (refused.code, refused["error"]["kind"]) == (6, "expired")
    assert agent.good("boot")["counter"] == 1
    assert agent.good("install", package(1, soon))["counter"] == 1


def test_wrong_outputs_leave_the_old_version_serving(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 1)
    failed = install(agent, vendor, 2, promised=3)
    assert (failed.code, failed["error"]["kind"], failed["state"]) == (5, "selftest", "rolled-back")
    assert "is off by 1" in failed["error"]["message"]
    assert (failed["counter"], agent.serving, agent.model) == (1, 1, {"add": 1})
    again = install(agent, vendor, 2, promised=3)
    assert (again.code, again["error"]["kind"]) == (6, "blocked")
    assert agent.good("status")["blocked"][0]["counter"] == 2
    assert agent.good("unblock", "2")["unblocked"]
    assert install(agent, vendor, 2, promised=3).code == 5
    assert install(agent, vendor, 3)["counter"] == 3


@pytest.mark.parametrize(
    ("deeds", "said"),
    [({"refuse": "no such operator"}, "no such operator"), ({"exit": 3}, "ended with status 3")],
)
def test_a_model_that_crashes_fails_its_self_test(
    agent: Agent, vendor: Vendor, deeds: dict[str, object], said: str
) -> None:
    install(agent, vendor, 1)
    failed = install(agent, vendor, 2, deeds=deeds)
    assert failed.code == 5
    assert said in failed["error"]["message"]
    assert agent.serving == 1


def test_being_slow_is_no_failure_unless_the_owner_says_how_slow(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 1)
    slow = install(agent, vendor, 2, deeds={"sleep_ms": 20})
    assert slow["counter"] == 2
    assert slow["selftest"]["latency_ms"] > 10 * slow["selftest"]["serving_latency_ms"]
    agent.wishes(max_latency_ms=15)
    failed = install(agent, vendor, 3, deeds={"sleep_ms": 30})
    assert failed.code == 5
    assert "15 are allowed" in failed["error"]["message"]
    assert agent.serving == 2


def test_too_little_memory_is_said_and_blocks_nothing(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 1)
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    refused = install(agent, vendor, 2, requires={"ram_bytes": total - (1 << 20)})
    assert (refused.code, refused["error"]["kind"]) == (4, "memory")
    assert agent.good("status")["blocked"] == []
    assert agent.serving == 1


def test_the_device_takes_the_variant_that_it_can_run(agent: Agent, vendor: Vendor) -> None:
    def promise(milliseconds: float) -> dict[str, object]:
        return {"value": milliseconds, "unit": "ms", "low": None, "high": None, "provenance": "measured"}

    variants = [
        {"name": "slow", "latency_ms": promise(9.0)},
        {"name": "fast", "latency_ms": promise(3.0)},
        {"name": "other", "latency_ms": promise(1.0), "requires": {"isa": ["no-such-instruction"]}},
        {"name": "old", "latency_ms": promise(1.0), "requires": {"runtime_range": "<1.0"}},
    ]
    assert install(agent, vendor, 1, variants=variants)["variant"] == "fast"
    refused = install(agent, vendor, 2, variants=variants[2:])
    assert (refused.code, refused["error"]["kind"]) == (3, "model")
    assert "instructions no-such-instruction" in refused["error"]["message"]
    assert "onnxruntime <1.0 (this has 1.20.0)" in refused["error"]["message"]
    assert agent.serving == 1


def test_the_application_is_told_and_a_failing_health_check_takes_the_version_back(
    agent: Agent, vendor: Vendor
) -> None:
    agent.wishes(on_switch="cat $EDGEOPT_CURRENT/model.onnx >> told", trial_s=0.1,
                 health_command="! grep -q '\"ill\"' current/model.onnx")  # fmt: skip
    assert install(agent, vendor, 1)["state"] == "good"
    failed = install(agent, vendor, 2, deeds={"ill": True})
    assert (failed.code, failed["error"]["kind"], failed["state"]) == (5, "health", "rolled-back")
    assert (agent.serving, failed["counter"]) == (1, 1)
    assert (agent.root / "told").read_text() == '{"add":1}{"add":2,"ill":true}{"add":1}'
    assert install(agent, vendor, 2, deeds={"ill": True})["error"]["kind"] == "blocked"


def test_a_failing_on_switch_command_takes_the_version_back(agent: Agent, vendor: Vendor) -> None:
    agent.wishes(on_switch="! grep -q ill current/model.onnx || { echo cannot reload; exit 9; }")
    install(agent, vendor, 1)
    failed = install(agent, vendor, 2, deeds={"ill": True})
    assert "ended with 9, saying: cannot reload" in failed["error"]["message"]
    assert agent.serving == 1


def test_the_first_version_that_fails_leaves_none(agent: Agent, vendor: Vendor) -> None:
    agent.wishes(health_command="false")
    assert install(agent, vendor, 1).code == 5
    assert agent.serving is None
    assert agent.good("boot")["state"] == "none"


def test_old_versions_go_and_what_they_shared_stays(agent: Agent, vendor: Vendor) -> None:
    agent.wishes(keep=2)
    for counter in (1, 2, 3, 4):
        assert install(agent, vendor, counter).code == 0
    assert [one["counter"] for one in agent.good("status")["versions"]] == [3, 4]
    named = {Path(name).parts[1] for name in agent.files() if name.startswith("versions/")}
    assert len(named) == 2
    have = set(agent.good("have")["objects"])
    assert have == {Path(name).name for name in agent.files() if name.startswith("objects/")}
    assert agent.good("rollback")["counter"] == 3


def test_a_release_of_another_product_is_refused(agent: Agent, vendor: Vendor) -> None:
    install(agent, vendor, 1)
    other = Vendor(keys=vendor.keys, product="door")
    refused = install(agent, other, 2)
    assert refused.code == 6
    assert "this device runs oven" in refused["error"]["message"]


def test_a_second_installation_meanwhile_is_told_to_wait(agent: Agent, vendor: Vendor) -> None:
    import fcntl
    import os

    install(agent, vendor, 1)
    held = os.open(agent.root / "versions", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        busy = install(agent, vendor, 2)
        assert (busy.code, busy["error"]["kind"]) == (4, "busy")
        assert agent.good("status")["busy"] is True
    finally:
        os.close(held)
    assert install(agent, vendor, 2).code == 0


def test_a_root_is_trusted_once(agent: Agent, vendor: Vendor) -> None:
    assert agent.good("trust", stdin=vendor.roots[0])["trust"] == "kept"
    refused = agent.do("trust", stdin=Vendor(keys=[Key(9)]).roots[0])
    assert (refused.code, refused["error"]["kind"]) == (6, "trust")
    vendor.rotate(Key(2))
    install(agent, vendor, 1)
    assert agent.good("trust", stdin=vendor.roots[1])["trust"] == "kept"


def test_nothing_is_installed_where_nobody_is_trusted(tmp_path: Path, vendor: Vendor) -> None:
    agent = Agent(tmp_path / "device")
    refused = install(agent, vendor, 1)
    assert (refused.code, refused["error"]["kind"]) == (6, "trust")
    assert agent.good("status")["state"] == "none"


def test_a_wish_that_it_does_not_know_is_named(agent: Agent, vendor: Vendor) -> None:
    agent.wishes(helth_command="true")
    install(agent, vendor, 1)
    refused = install(agent, vendor, 2)
    assert refused.code == 2
    assert "helth_command" in refused["error"]["message"]
    assert json.loads((agent.root / "state.json").read_text())["format"] == 1
