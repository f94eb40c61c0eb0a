"""Updates that a device fetches itself: the same checks, and those of a repository that lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.field.device.agents import Agent
from tests.field.device.packages import EARLIER, Key, Vendor
from tests.field.device.repositories import Repository


@pytest.fixture
def repository(vendor: Vendor) -> Iterator[Repository]:
    made = Repository(vendor)
    yield made
    made.close()


def test_a_device_fetches_what_is_new_and_only_what_it_lacks(agent: Agent, repository: Repository) -> None:
    repository.publish(1)
    assert agent.good("pull", repository.url)["counter"] == 1
    assert agent.good("pull", repository.url)["changed"] is False
    repository.asked.clear()
    repository.publish(2)
    assert agent.good("pull", repository.url)["counter"] == 2
    names = [path.rpartition(".")[0].partition(".")[2] for path, _ in repository.asked if "targets/" in path]
    assert sorted(names) == ["manifest", "model", "outputs"]
    assert agent.model == {"add": 2}


def test_a_download_that_broke_goes_on_where_it_stopped(agent: Agent, repository: Repository) -> None:
    repository.publish(1, pad=500_000)
    repository.cut = ("model.onnx", 300_000)
    broken = agent.do("pull", repository.url)
    assert (broken.code, broken["error"]["kind"]) == (4, "connect")
    assert agent.good("pull", repository.url)["counter"] == 1
    begins = [begin for path, begin in repository.asked if path.endswith("model.onnx")]
    assert begins == [0, 300_000]


def test_a_file_that_was_changed_is_never_installed(agent: Agent, repository: Repository) -> None:
    repository.publish(1)
    (path,) = [path for path in repository.files if path.endswith("model.onnx")]
    repository.files[path] = repository.files[path].replace(b"1", b"7")
    refused = agent.do("pull", repository.url)
    assert (refused.code, refused["error"]["kind"]) == (6, "package")
    assert agent.serving is None


def go_back(repository: Repository, old: dict[str, bytes]) -> None:
    """What an attacker can show who has kept yesterday's files."""
    repository.files["metadata/timestamp.json"] = old["metadata/timestamp.json"]


def mix(repository: Repository, old: dict[str, bytes]) -> None:
    """Today's timestamp with yesterday's snapshot."""
    newest = max(name for name in repository.files if "snapshot" in name)
    repository.files[newest] = old["metadata/1.snapshot.json"]


def other_targets(repository: Repository, old: dict[str, bytes]) -> None:
    repository.files["metadata/2.targets.json"] = old["metadata/1.targets.json"]


def expire(repository: Repository, old: dict[str, bytes]) -> None:
    """A timestamp that nobody has refreshed: whoever shows it wants the device to stay where it is."""
    repository.stamp(2, repository.files["metadata/2.targets.json"], expires=EARLIER)


def stranger(repository: Repository, old: dict[str, bytes]) -> None:
    repository.stamp(2, repository.files["metadata/2.targets.json"], keys=[Key(9)])


def endless(repository: Repository, old: dict[str, bytes]) -> None:
    repository.files["metadata/timestamp.json"] = bytes(5 << 20)


LIES: dict[Callable[[Repository, dict[str, bytes]], None], str] = {
    go_back: "downgrade", mix: "package", other_targets: "package", expire: "expired", stranger: "signature",
    endless: "package",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_repository_that_lies_is_refused(
    agent: Agent, repository: Repository, lie: Callable[[Repository, dict[str, bytes]], None]
) -> None:
    repository.publish(1)
    old = dict(repository.files)
    agent.good("pull", repository.url)
    repository.publish(2)
    if lie is go_back:
        agent.good("pull", repository.url)
    lie(repository, old)
    refused = agent.do("pull", repository.url)
    assert (refused.code, refused["error"]["kind"]) == (6, LIES[lie])
    assert agent.serving == (2 if lie is go_back else 1)


def test_new_roots_are_followed_and_numbers_of_a_stolen_key_do_not_count(
    agent: Agent, repository: Repository, vendor: Vendor
) -> None:
    repository.version = 10**6
    repository.publish(1)
    agent.good("pull", repository.url)
    vendor.rotate(Key(2))
    repository.version = 1
    repository.publish(2)
    assert agent.good("pull", repository.url)["counter"] == 2
    vendor.rotate(Key(3))
    repository.publish(3)
    assert agent.good("pull", repository.url)["counter"] == 3
    assert (agent.root / "trust" / "2.root.json").read_bytes() == vendor.roots[1]


def test_only_a_share_of_the_devices_takes_a_release(agent: Agent, repository: Repository) -> None:
    device = agent.good("status")["device_id"]
    turn = int(hashlib.sha256(f"{device}:1".encode()).hexdigest()[:8], 16) * 1_000_000 // 2**32
    repository.publish(1, share_ppm=max(0, turn - 1))
    assert agent.good("pull", repository.url)["waiting"] is True
    repository.publish(1, share_ppm=min(1_000_000, turn + 2))
    assert agent.good("pull", repository.url)["counter"] == 1


def test_what_failed_here_is_not_fetched_again(agent: Agent, repository: Repository) -> None:
    repository.publish(1)
    agent.good("pull", repository.url)
    repository.publish(2, promised=3)
    assert agent.do("pull", repository.url).code == 5
    repository.asked.clear()
    again = agent.good("pull", repository.url)
    assert (again["blocked"], again["counter"]) == (True, 1)
    assert [path for path, _ in repository.asked if path.startswith("targets/")] == []


def test_what_its_owner_has_left_is_not_fetched_again(agent: Agent, repository: Repository) -> None:
    for counter in (1, 2):
        repository.publish(counter)
        agent.good("pull", repository.url)
    agent.good("rollback")
    assert agent.good("pull", repository.url)["counter"] == 1
    assert agent.good("rollback", "--to", "2")["counter"] == 2


def test_reports_are_signed_and_wait_until_there_is_a_network(
    agent: Agent, repository: Repository, vendor: Vendor, tmp_path: Path
) -> None:
    agent.wishes(report=f"{repository.url}/reports", repository=repository.url)
    repository.report_status = 503
    repository.publish(1)
    agent.good("pull")
    repository.publish(2, promised=3)
    assert agent.do("pull").code == 5
    assert agent.good("status")["unsent_reports"] == 2
    repository.report_status, repository.reports = 204, []
    agent.good("watch")
    assert agent.good("status")["unsent_reports"] == 0
    first, second = map(json.loads, repository.reports)
    assert (first["signed"]["outcome"], first["signed"]["counter"], first["signed"]["sequence"]) == (
        "good",
        1,
        1,
    )
    assert (second["signed"]["outcome"], second["signed"]["current"]) == ("rolled-back", 1)
    status = agent.good("status")
    for report in (first, second):
        assert report["signed"]["device_id"] == status["device_id"]
        key = load_pem_public_key(report["public_key"].encode())
        content = json.dumps(report["signed"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        key.verify(bytes.fromhex(report["signature"]), content.encode())  # type: ignore[union-attr, call-arg]


def test_without_a_network_nothing_changes(agent: Agent, repository: Repository) -> None:
    repository.publish(1)
    agent.good("pull", repository.url)
    refused = agent.do("pull", "http://127.0.0.1:9/nobody")
    assert (refused.code, refused["error"]["kind"]) == (4, "connect")
    assert agent.do("pull", "file:///etc").code == 2
    assert agent.do("pull").code == 2
    assert agent.serving == 1
