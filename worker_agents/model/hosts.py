"""Names and addresses of hosts, and how they stand in an address of HTTP."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

_LONGEST_NAME = 253
# Underscores are no part of host names, but of the names that container networks give.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def ip_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address that ``text`` is, without brackets; ``None`` for everything else, also for one with a zone."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def is_host_name(text: str) -> bool:
    """Whether it can be a name. What ends with a number is taken for an IPv4 address everywhere, so it is none."""
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= _LONGEST_NAME
        and all(_LABEL.fullmatch(label) for label in labels)
        and not re.fullmatch(r"\d+|0[xX][0-9A-Fa-f]*", labels[-1])
    )


def in_url(host: str) -> str:
    """As a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
