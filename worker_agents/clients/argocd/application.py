"""An Argo CD Application as it is read: only the fields of ``contracts.md`` 2.7, each of which may be absent.

Times have whole seconds: two that are equal do not tell which was first.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from worker_agents.model.documents import null_is_absent
from worker_agents.model.structs import struct

SUCCEEDED: Final = "Succeeded"
FAILED: Final = frozenset({"Failed", "Error"})
PENDING: Final = "Pending"
"""Our word for an operation that Argo CD's controller has not taken up yet; it has none of its own."""


def _in_utc(moment: datetime) -> datetime:
    """Without a zone it is UTC, as Kubernetes' times are: moments of both kinds could not be compared."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class _Read(BaseModel):
    """Go writes ``null`` for what it leaves empty: absent, then."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    _nulls = model_validator(mode="before")(null_is_absent)


class Info(_Read):
    name: str = ""
    value: str = ""


class SyncRequested(_Read):
    revision: str = ""


class Initiator(_Read):
    username: str = ""
    automated: bool = False


class Operation(_Read):
    """What was asked for; ``info`` are the ``infos`` of the sync call, word for word."""

    sync: SyncRequested = SyncRequested()
    info: tuple[Info, ...] = ()
    initiated_by: Initiator = Field(default=Initiator(), alias="initiatedBy")


class ResourceResult(_Read):
    """What a sync did to one resource. ``status`` is Synced, SyncFailed, Pruned or PruneSkipped."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    status: str = ""
    message: str = ""
    hook_phase: str = Field(default="", alias="hookPhase")

    @property
    def is_failed(self) -> bool:
        return self.status == "SyncFailed" or self.hook_phase in FAILED


class SyncResult(_Read):
    revision: str = ""
    resources: tuple[ResourceResult, ...] = ()


class OperationState(_Read):
    phase: str = ""
    message: str = ""
    started_at: Moment | None = Field(default=None, alias="startedAt")
    finished_at: Moment | None = Field(default=None, alias="finishedAt")
    operation: Operation = Operation()
    sync_result: SyncResult = Field(default=SyncResult(), alias="syncResult")


class SyncStatus(_Read):
    status: str = "Unknown"
    revision: str = ""


class Health(_Read):
    status: str = "Unknown"
    message: str = ""


class Condition(_Read):
    type: str = ""
    message: str = ""


class HistoryEntry(_Read):
    """A sync that succeeded; ``deploy_started_at`` is the ``startedAt`` of its operation."""

    revision: str = ""
    deploy_started_at: Moment | None = Field(default=None, alias="deployStartedAt")


class Summary(_Read):
    images: tuple[str, ...] = ()


class Status(_Read):
    operation_state: OperationState | None = Field(default=None, alias="operationState")
    sync: SyncStatus = SyncStatus()
    health: Health = Health()
    reconciled_at: Moment | None = Field(default=None, alias="reconciledAt")
    conditions: tuple[Condition, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    summary: Summary = Summary()


class Metadata(_Read):
    name: str
    finalizers: tuple[str, ...] = ()


class ResourceHealth(_Read):
    """A node of the resource tree; resources without a health of their own have none."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    health: Health | None = None


class ResourceTree(_Read):
    nodes: tuple[ResourceHealth, ...] = ()


@struct
class OperationView:
    """One operation, whether it waits for the controller, runs or has ended."""

    requested: Operation
    phase: str
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: str = ""
    resources: tuple[ResourceResult, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.finished_at is not None

    @property
    def initiator(self) -> str:
        if self.requested.initiated_by.automated:
            return "auto-sync"
        return self.requested.initiated_by.username or "somebody"

    def is_marked(self, name: str, value: str) -> bool:
        return Info(name=name, value=value) in self.requested.info


class Application(_Read):
    """``spec`` is kept as it came."""

    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict)
    requested: Operation | None = Field(default=None, alias="operation")
    status: Status = Status()

    @property
    def source(self) -> dict[str, Any]:
        source = self.spec.get("source")
        return source if isinstance(source, dict) else {}

    @property
    def latest_operation(self) -> OperationView | None:
        """The operation that waits or runs, else the one that ended last."""
        state = self.status.operation_state
        if self.requested is not None and (state is None or state.finished_at is not None):
            # A state that has ended is that of an earlier operation: this one has not been taken up yet.
            return OperationView(self.requested, PENDING, revision=self.requested.sync.revision)
        if state is None:
            return None
        return OperationView(
            requested=self.requested or state.operation,
            phase=state.phase,
            message=state.message,
            started_at=state.started_at,
            finished_at=state.finished_at,
            revision=state.sync_result.revision or state.operation.sync.revision,
            resources=state.sync_result.resources,
        )

    @property
    def is_operating(self) -> bool:
        latest = self.latest_operation
        return latest is not None and not latest.is_over

    def has_deployed(self, started_at: datetime) -> bool:
        """Whether the history tells of the success of the operation that was started then."""
        return any(entry.deploy_started_at == started_at for entry in self.status.history)

    def described_conditions(self) -> str:
        """Argo CD's complaints about the application, in one line; empty without any."""
        return "; ".join(f"{each.type}: {each.message}" for each in self.status.conditions)
