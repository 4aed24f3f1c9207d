from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgeswarm.testing.fleet import SampleFleet

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def fleet() -> SampleFleet:
    return SampleFleet.create("fleet", NOW)


@pytest.fixture(scope="session")
def other_fleet() -> SampleFleet:
    """An authority of its own that gives itself the same name."""
    return SampleFleet.create("fleet", NOW)
