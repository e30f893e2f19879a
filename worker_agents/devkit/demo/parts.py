"""What the demo sends, and what is to become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker_agents.model.errors import Reason
from worker_agents.model.result import Status

SOME: Final = object()
"""Stands for any value of a result's output that is neither empty nor zero."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What becomes of a ticket. ``status`` ``None``: it gets no result of its own.

    ``attempts`` is checked where it is given; so is ``after``, the ticket that must have been done before it began, and
    each field that ``output`` names.
    """

    status: Status | None
    reason: Reason | None = None
    is_simulated: bool = False
    dead_letter: bool = False
    attempts: int | None = None
    after: str | None = None
    output: Mapping[str, Any] = field(default_factory=dict)

    def output_differences(self, output: Mapping[str, Any]) -> Iterator[str]:
        """What is not as it should be in a result's output."""
        for name, expected in self.output.items():
            found = output.get(name)
            if expected is SOME and not found:
                yield f"{name} is empty"
            elif expected is not SOME and found != expected:
                yield f"{name} {found}, should be {expected}"


@dataclass(frozen=True, slots=True)
class Part:
    """One record that the demo sends. ``name`` is unique, ``ticket_id`` is not: one ticket is sent twice.

    ``needs`` names the external program without which its result is a simulated one.
    """

    name: str
    shows: str
    value: bytes
    key: str
    ticket_id: str | None
    ending: Ending
    needs: str | None = None

    @property
    def is_copy(self) -> bool:
        return self.ticket_id is not None and self.ticket_id != self.name


COMPLETED = Ending(Status.COMPLETED)
SIMULATED = Ending(Status.COMPLETED, is_simulated=True)
REFUTED = Ending(Status.FAILED, Reason.VERDICT_FAILED, attempts=1)
"""A verdict against what was asked about: an answer, so that nobody tries again."""
