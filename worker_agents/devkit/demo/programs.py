"""Which external programs this machine has, and what the demo says of those that it has not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

OPA, TRIVY, PYTEST = "opa", "trivy", "pytest"

# Of a checkout; there is no such folder beside an installed package.
_MADE_BY_TOOLS = Path(__file__).parents[3] / ".tools" / "bin"
# Not whatever PATH has: the worker gives test programs a bare environment, in which wrappers of version managers fail.
_BESIDE_US = Path(sys.executable).parent
_HOW_TO_GET = {OPA: "`make tools` installs it", TRIVY: "`make tools` installs it", PYTEST: "`make setup` installs it"}


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths, ``None`` where there is no such program."""

    opa: Path | None = None
    trivy: Path | None = None
    pytest: Path | None = None

    @classmethod
    def installed(cls) -> Programs:
        """OPA and Trivy from ``.tools/bin`` of the checkout or else from PATH, pytest from the interpreter's folder."""
        search = os.pathsep.join((str(_MADE_BY_TOOLS), os.environ.get("PATH", os.defpath)))
        return cls(_found(OPA, search), _found(TRIVY, search), _found(PYTEST, str(_BESIDE_US)))

    @property
    def missing(self) -> frozenset[str]:
        have = {OPA: self.opa, TRIVY: self.trivy, PYTEST: self.pytest}
        return frozenset(name for name, path in have.items() if path is None)


def told(missing: AbstractSet[str]) -> str:
    """One line: which programs are used, which are not there, and how to get those."""
    used = [name for name in _HOW_TO_GET if name not in missing]
    absent = [f"{name} ({_HOW_TO_GET[name]})" for name in _HOW_TO_GET if name in missing]
    lines = [f"real programs: {', '.join(used)}"] if used else []
    lines += [f"not found: {', '.join(absent)}; their tickets get simulated results"] if absent else []
    return "; ".join(lines)


def _found(name: str, search: str) -> Path | None:
    path = shutil.which(name, path=search)
    return None if path is None else Path(path).absolute()
