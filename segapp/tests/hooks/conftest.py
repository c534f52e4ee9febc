import ipaddress

import pytest

from segapp.tests.hooks.receiver import receiving


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


@pytest.fixture
def this_machine(settings):
    """The operator allows hooks to reach this machine, and nothing else that is private."""
    settings.SEGAPP_HOOK_NETWORKS = [ipaddress.ip_network("127.0.0.0/8")]
