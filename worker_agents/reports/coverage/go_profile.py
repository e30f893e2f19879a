"""Go's ``-coverprofile``: ``file:line.col,line.col statements count`` a block, after ``mode: …``; and ``go tool cover -func``.

With ``-coverpkg`` every package's run repeats the blocks: one is covered when any of its lines says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from worker_agents.reports.model import Malformed
from worker_agents.reports.numbers import share

_PROFILE = re.compile(rb"^mode: (?:set|count|atomic)\s*$", re.MULTILINE)
MAX_BLOCKS = 1_000_000

_MAX_DIGITS = 7
# What ``go tool cover -func`` prints last.
FUNC_TOTAL = re.compile(r"total:\s+\(statements\)\s+(\d{1,3}\.\d)%", re.ASCII)


def is_go_profile(content: bytes) -> bool:
    return _PROFILE.match(content[:64]) is not None


def go_profile(lines: Iterable[str]) -> float:
    statements: dict[str, int] = {}
    covered: set[str] = set()
    for at, line in enumerate(lines):
        if at > MAX_BLOCKS:
            raise Malformed(f"more than {MAX_BLOCKS:,} blocks")
        if not line.strip() or line.startswith("mode: "):
            continue
        match line.rsplit(maxsplit=2):
            case [block, of_block, count] if ":" in block and count.isdecimal() and of_block.isdecimal():
                statements[block] = _statements(of_block)
                if count.strip("0"):
                    covered.add(block)
            case _:
                raise Malformed("a line is no block of a coverage profile")
    return share(sum(statements[block] for block in covered), sum(statements.values()), "statements")


def _statements(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise Malformed("a block of the coverage profile is absurdly large")
    return int(digits)
