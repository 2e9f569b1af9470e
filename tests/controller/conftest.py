"""One controller for all tests that only need one; each test uses projects of its own names."""

from collections.abc import Iterator

import pytest

from control_process import ControlProcess, handover, running
from pointsman.store.secret import digest_of

GATEWAY_TOKEN = "pmg_test_a-token-only-this-test-knows"


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlProcess]:
    directory = tmp_path_factory.mktemp("control")
    said = handover(digest_of(GATEWAY_TOKEN))
    with running(directory, POINTSMAN_HANDOVER=said) as found:
        yield found


@pytest.fixture
def gateway_token() -> str:
    return GATEWAY_TOKEN
