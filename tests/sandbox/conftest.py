import pytest

from toolfoundry.errors import SandboxUnavailable
from toolfoundry.sandbox import Sandbox, SandboxLimits


@pytest.fixture(scope="session")
def box():
    """One sandbox for all tests of this folder, with a short limit of time."""
    try:
        with Sandbox(SandboxLimits(call_s=0.1)) as box:
            yield box
    except SandboxUnavailable as error:  # the refusal itself is tested in test_unavailable.py
        pytest.skip(str(error))
