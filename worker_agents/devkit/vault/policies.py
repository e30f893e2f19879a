"""Which token may do what, where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ROOT: Final = "root"
DEFAULT: Final = "default"

CAPABILITIES: Final[Mapping[str, str]] = {"GET": "read", "POST": "update", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Policy:
    """Capabilities by path; ``*`` at the end of a path stands for anything, ``+`` for one name in it."""

    rules: Mapping[str, Sequence[str]]

    def allows(self, path: str, capability: str) -> bool:
        # Writing a secret is "create" or "update"; which of the two is not told apart here.
        wanted = {capability, "create"} if capability == "update" else {capability}
        return any(wanted.intersection(rule) for pattern, rule in self.rules.items() if _covers(pattern, path))


OF_DEFAULT: Final = Policy(
    {
        "auth/token/lookup-self": ["read"],
        "auth/token/renew-self": ["update"],
        "auth/token/revoke-self": ["update"],
    }
)


def allowed(names: Iterable[str], policies: Mapping[str, Policy], path: str, method: str) -> bool:
    """Whether one of the policies of a token allows a call; unknown policies allow nothing."""
    held = tuple(names)
    known = {DEFAULT: OF_DEFAULT, **policies}
    capability = CAPABILITIES.get(method, "")
    return ROOT in held or any(known[name].allows(path, capability) for name in held if name in known)


def _covers(pattern: str, path: str) -> bool:
    wanted, found = pattern.split("/"), path.split("/")
    if pattern.endswith("*"):
        last = len(wanted) - 1
        wanted[-1] = wanted[-1][:-1]
        if not "/".join(found[last:]).startswith(wanted[-1]) or len(found) <= last:
            return False
        wanted, found = wanted[:last], found[:last]
    return len(wanted) == len(found) and all(name in ("+", other) for name, other in zip(wanted, found, strict=True))
