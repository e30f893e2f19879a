"""Failures that the reference server can be told to show, and the count of what each has left."""

from dataclasses import dataclass
from typing import ClassVar, Self, TypedDict, Unpack

from pydantic import ConfigDict

from worker_agents.devkit.code_forge.operations import API, Operation
from worker_agents.devkit.conversation import FaultKind


class Aim(TypedDict, total=False):
    """Which calls a fault hits; see the fields of `Fault`."""

    times: int | None
    on: frozenset[Operation]
    ticket_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failure that hits the next `times` calls (`None`: every call) of the operations `on`, of `ticket_id` if given.

    `after_work` says that the work was begun all the same and only its answer is spoiled.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: FaultKind = FaultKind.STATUS
    on: frozenset[Operation] = API
    times: int | None = 1
    ticket_id: str | None = None
    after_work: bool = False
    status: int = 503
    retry_after: float | None = None
    body: str | None = None
    content_type: str = "application/json"

    @classmethod
    def answers(cls, status: int, *, retry_after: float | None = None, **aim: Unpack[Aim]) -> Self:
        """Answer with `status` and do nothing; `retry_after` is in seconds."""
        return cls(kind=FaultKind.STATUS, status=status, retry_after=retry_after, **aim)

    @classmethod
    def refuses(cls, **aim: Unpack[Aim]) -> Self:
        """Reset the connection before anything is done."""
        return cls(kind=FaultKind.DROP, **aim)

    @classmethod
    def loses_answer(cls, **aim: Unpack[Aim]) -> Self:
        """Do the work, then reset the connection."""
        return cls(kind=FaultKind.DROP, after_work=True, **aim)

    @classmethod
    def times_out_behind_gateway(cls, **aim: Unpack[Aim]) -> Self:
        """Do the work, then answer 504 as a gateway in between would."""
        return cls(kind=FaultKind.STATUS, status=504, after_work=True, **aim)

    @classmethod
    def hangs(cls, *, after_work: bool = False, **aim: Unpack[Aim]) -> Self:
        """Never answer; with `after_work` the work is done first."""
        return cls(kind=FaultKind.HANG, after_work=after_work, **aim)

    @classmethod
    def nonsense(
        cls,
        body: str = "<html>Welcome</html>",
        *,
        status: int = 200,
        content_type: str = "text/html",
        **aim: Unpack[Aim],
    ) -> Self:
        """Do the work, then answer something that is not the API's."""
        return cls(kind=FaultKind.NONSENSE, after_work=True, status=status, body=body, content_type=content_type, **aim)


class FaultBudgets:
    """Counts how often each fault has struck, so that `times` holds."""

    def __init__(self) -> None:
        self._struck: dict[tuple[str, int], int] = {}

    def take(
        self, faults: tuple[Fault, ...], *, owner: str, operation: Operation, ticket_id: str | None
    ) -> Fault | None:
        """Return the first of `faults` that hits this call and charge it; `owner` keeps separate counts apart."""
        for index, fault in enumerate(faults):
            if operation not in fault.on or fault.ticket_id not in (None, ticket_id):
                continue
            struck = self._struck.get((owner, index), 0)
            if fault.times is None or struck < fault.times:
                self._struck[owner, index] = struck + 1
                return fault
        return None

    def restart(self) -> None:
        """Give every fault its full number again."""
        self._struck.clear()
