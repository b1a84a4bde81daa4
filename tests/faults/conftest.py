"""One world of small inputs for all tests that break things; each test gets a copy."""

from pathlib import Path

import pytest

from tests.faults.small_tasks import World, make_world
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, tiny_random_policy: Path) -> World:
    home = tmp_path_factory.mktemp("faults")
    prm = make_prm(home / "models" / "prm")
    return make_world(home / "data", tiny_random_policy, prm)


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return template.copy(tmp_path / "data")
