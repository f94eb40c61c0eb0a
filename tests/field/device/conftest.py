"""A device that trusts a vendor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field.device.agents import Agent
from tests.field.device.packages import Vendor


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def agent(tmp_path: Path, vendor: Vendor) -> Agent:
    return Agent(tmp_path / "device").trusts(vendor)
