"""Field devices that are folders of this machine, reached over real SSH, with the real agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edgeopt.boards.inventory import NamedBoard, add
from edgeopt.resources import resource
from tests.faults.proxy import Proxy
from tests.sshd import Sshd


class FieldDevice:
    """One device; `root` is where its packages are."""

    def __init__(self, sshd: Sshd, name: str) -> None:
        self.sshd, self.name = sshd, name
        self.root = sshd.home / "edgeopt"
        self.proxy: Proxy | None = None

    @property
    def url(self) -> str:
        port = self.proxy.port if self.proxy else self.sshd.port
        server = self.sshd.address.replace(str(self.sshd.port), str(port))
        return f"{server}?python={sys.executable}&identity={self.sshd.identity}"

    @property
    def serves(self) -> int | None:
        """The counter of what `current` leads to, as the manifest there says."""
        current = self.root / "current"
        return int(current.resolve().name.split("-")[0]) if current.is_symlink() else None

    def ask(self, *words: str, stdin: bytes = b"") -> dict[str, object]:
        """The agent, run on the device itself."""
        done = subprocess.run(
            [sys.executable, resource("firmware_scripts/edgeopt_field.py"), "--root", self.root, *words],
            input=stdin, capture_output=True, check=False, env=os.environ | {"HOME": str(self.sshd.home)},
        )  # fmt: skip
        return dict(json.loads(done.stdout or done.stderr))

    def behind_a_network(self) -> Proxy:
        """From now on it is reached through a network that can be disturbed."""
        self.proxy = Proxy(self.sshd.port)
        known = self.sshd.known_hosts_line.replace(str(self.sshd.port), str(self.proxy.port))
        with (Path.home() / ".ssh" / "known_hosts").open("a") as stream:
            stream.write(known)
        return self.proxy

    def close(self) -> None:
        if self.proxy:
            self.proxy.close()
        self.sshd.kill()


class Fleet:
    """Devices `pi-0`, `pi-1`, … of the group `all`."""

    def __init__(self, folder: Path, identity: Path, count: int) -> None:
        self.devices: list[FieldDevice] = []
        for number in range(count):
            sshd = Sshd(folder / str(number), identity).start()
            sshd.trust()
            self.devices.append(FieldDevice(sshd, f"pi-{number}"))

    def __getitem__(self, number: int) -> FieldDevice:
        return self.devices[number]

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def serving(self) -> list[int | None]:
        return [device.serves for device in self.devices]

    def name_them(self) -> None:
        """Write boards.toml."""
        for device in self.devices:
            add(NamedBoard(device.name, "local", device.url, groups=("all",), field_root=str(device.root)))

    def close(self) -> None:
        for device in self.devices:
            device.close()
