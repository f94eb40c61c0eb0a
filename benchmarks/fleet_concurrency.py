"""How a rollout's time falls with the devices that are updated at once.

Twelve devices on real SSH servers of this machine, each behind a link of 256 kB/s as a field device may have,
get a release of 4 MB with the real agent, by 1, 3, 6 and 12 at once. A link's time is waited for, so more
devices at once should take that much less; what this one machine computes for all of them, as host and as
every device, it computes one after the other. Needs Debian's openssh-server; takes about ten minutes.

    python -m benchmarks.fleet_concurrency
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

DEVICES = 12
BALLAST_BYTES = 4 << 20
LINK_BYTES_PER_S = 256_000
AT_ONCE = (1, 3, 6, 12)
LEAST_EFFICIENCY = 0.7
"""Of 3 at once against 1: the share of the threefold that is reached."""


def main() -> int:
    """Print a line for each; 1 where three at once are not nearly three times as fast."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = str(folder / "home")
        os.environ["EDGEOPT_HOME"] = str(folder / "home" / "edgeopt")
        (folder / "home" / ".ssh").mkdir(parents=True)
        return measured(folder)


def measured(folder: Path) -> int:
    """Update the fleet once for each number of devices at once."""
    from edgeopt.boards.inventory import Inventory
    from edgeopt.field.fleet import targets
    from tests.field.fleet.devices import Fleet
    from tests.field.fleet.releases import keyring
    from tests.sshd import make_key

    trust = folder / "trust"
    keyring(trust)
    fleet = Fleet(folder / "fleet", make_key(folder / "identity"), DEVICES)
    try:
        for device in fleet.devices:
            device.behind_a_network()
        fleet.name_them()
        reached = targets([], ["all"], Inventory.load())
        rolled_out(folder, trust, reached, 1, DEVICES, ballast_bytes=0)  # agent and trust are there now
        for device in fleet.devices:
            if device.proxy:
                device.proxy.bytes_per_s = LINK_BYTES_PER_S
        seconds = {}
        for counter, at_once in enumerate(AT_ONCE, start=2):
            cpu = sum(os.times()[:4])
            seconds[at_once] = rolled_out(folder, trust, reached, counter, at_once, BALLAST_BYTES)
            cpu = sum(os.times()[:4]) - cpu
            factor = seconds[AT_ONCE[0]] / seconds[at_once]
            print(
                f"{at_once:>3} at once: {seconds[at_once]:6.1f} s for {DEVICES} devices, "
                f"{factor:4.1f} times as fast as one by one; {cpu:.1f} s of this process's time",
                flush=True,
            )
    finally:
        fleet.close()
    efficiency = seconds[1] / seconds[3] / 3
    print(f"efficiency of 3 at once: {efficiency:.0%} (at least {LEAST_EFFICIENCY:.0%})")
    return 0 if efficiency >= LEAST_EFFICIENCY else 1


def rolled_out(
    folder: Path, trust: Path, reached: list, counter: int, at_once: int, ballast_bytes: int
) -> float:
    """Seconds in which all devices get a release, in one wave."""
    from edgeopt.field.deliver import Delivery, Patience
    from edgeopt.field.journal import Journal
    from edgeopt.field.many import Stop
    from edgeopt.field.parcel import Parcel
    from edgeopt.field.rollout import roll_out
    from edgeopt.field.watching import FleetObserver
    from edgeopt.field.waves import plan
    from tests.field.fleet.releases import release

    parcel = Parcel.open(release(folder / f"{counter}.edgepkg", trust, counter, ballast_bytes=ballast_bytes))
    root = (trust / "root.pub.json").read_bytes()
    by_name = {target.name: target for target in reached}
    observer, stop = FleetObserver(), Stop()
    waves = plan(list(by_name), 0, "100%")
    with Journal(folder / f"{counter}.jsonl", {}) as journal:
        begun = time.monotonic()
        report = roll_out(
            waves,
            lambda name: Delivery(by_name[name], parcel, root, Patience(), observer, stop).run(),
            journal, 0.0, at_once, observer, stop,
        )  # fmt: skip
        seconds = time.monotonic() - begun
    if report.verdict != "complete":
        raise SystemExit(
            f"{report.verdict}: {[one.reason for one in report.outcomes.values() if one.reason]}"
        )
    return seconds


if __name__ == "__main__":
    sys.exit(main())
