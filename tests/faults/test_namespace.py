"""Faults over a loopback that is slow, or loses packets: a network namespace whose kernel makes it so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LINKS = {
    "slow": "tbf rate 8mbit burst 16kb latency 500ms",
    "lossy": "netem delay 20ms 5ms loss 3%",
}
FAULTS = (
    "candidate exits while it runs", "connection reset during measurement", "two clients race for one board",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("link", LINKS)
def test_the_same_faults_over_a_bad_link(link: str) -> None:
    if os.geteuid():
        pytest.skip("only root may shape a network")
    # Packets of the loopback are larger than a burst, unless it is told otherwise.
    shape = f"ip link set lo mtu 1500 up && tc qdisc add dev lo root {LINKS[link]}"
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", shape], capture_output=True, text=True, check=False
    )
    if tried.returncode:  # a Debian kernel has both; netem is shown in the virtual machine, too
        pytest.skip(f"this kernel cannot make a link {link}: {tried.stderr.strip()}")
    tests = [f"tests/faults/test_faults.py::test_fault[{fault}]" for fault in FAULTS]
    ran = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{shape} && "$@" && tc -s qdisc show dev lo', "sh",
         sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(FAULTS)} passed" in ran.stdout
    print(ran.stdout[ran.stdout.index("qdisc ") :])
