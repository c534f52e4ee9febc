"""Which addresses a hook may have: what is reached over the internet, and what the operator allows beyond that.

Names are not resolved here. The web process checks an address as it is typed; the worker checks what its name resolves
to, and connects to that very address.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from segapp.services.errors import InvalidForm

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_LENGTH = 500
LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
# IPv6 addresses that carry an IPv4 address in them: what is behind the translator cannot be told from here.
CARRIERS = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))


class RefusedAddress(InvalidForm):
    """An address that no hook may have."""

    code = "refused_address"
    message = "This is not an address that webhooks may have."
    advice = "Use one that is reached over the internet, like https://lab.example.org/segapp."

    def __init__(self, message: str) -> None:
        super().__init__([message])


def parsed(url: str) -> SplitResult:
    """The parts of a hook's address. Raises RefusedAddress for what is none, and for an IP address not allowed."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise RefusedAddress(f"“{url[:80]}” is not an address. {EXAMPLE}") from None
    if parts.scheme not in ("http", "https") or not host or any(sign <= " " or sign == "\x7f" for sign in url):
        raise RefusedAddress(f"“{url[:80]}” is not a web address. {EXAMPLE}")
    if len(url) > MAX_LENGTH:
        raise RefusedAddress(f"The address is longer than {MAX_LENGTH} characters. Use a shorter one.")
    if parts.username is not None or parts.password is not None:
        raise RefusedAddress("The address has a user name or password in it. Leave them out: deliveries are signed.")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if host.rstrip(".") in LOCAL_NAMES and not allowed(ipaddress.ip_address("127.0.0.1")):
            raise RefusedAddress(refusal(host)) from None
    else:
        if not allowed(address):
            raise RefusedAddress(refusal(host))
    return parts


EXAMPLE = "Enter one like https://lab.example.org/segapp."


def allowed(address: IPAddress) -> bool:
    """Whether a hook may reach this: an address of the internet, or of a network in SEGAPP_HOOK_PRIVATE."""
    networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = settings.SEGAPP_HOOK_NETWORKS
    if any(address.version == network.version and address in network for network in networks):
        return True
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in CARRIERS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def refusal(host: str) -> str:
    return (
        f"{host} is an address within this server's own network, which hooks may not reach. "
        "Use one that is reached over the internet, or ask the operator of this server to allow it "
        "(SEGAPP_HOOK_PRIVATE)."
    )
