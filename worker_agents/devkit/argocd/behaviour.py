"""How the reference Argo CD behaves: one frozen value, changed as a whole, readable and writable as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, TypeAdapter

from worker_agents.devkit.argocd.operations import EVERYTHING, Operation
from worker_agents.devkit.conversation import FaultKind

BEHAVIOUR_ANNOTATION: Final = "behaviour"
"""Annotation of an application that names the script to follow."""

HealthStatus = Literal["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failure that hits the next ``times`` calls (``None``: every call) of the operations ``on``.

    ``after_work`` says that the call took effect all the same and only its answer is spoiled.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: FaultKind = FaultKind.STATUS
    on: frozenset[Operation] = EVERYTHING
    times: int | None = 1
    skip: int = 0
    """Calls that go well before the first that does not."""
    after_work: bool = False
    status: int = 503
    retry_after: float | None = None
    body: str | None = None
    """Instead of Argo CD's ``{error, code, message}``."""
    code: int = 14

    @classmethod
    def answers(cls, status: int, *on: Operation, code: int = 14, times: int | None = 1, skip: int = 0) -> Self:
        return cls(status=status, code=code, on=frozenset(on) or EVERYTHING, times=times, skip=skip)

    @classmethod
    def loses_answer(cls, *on: Operation, times: int | None = 1) -> Self:
        return cls(kind=FaultKind.DROP, after_work=True, on=frozenset(on) or EVERYTHING, times=times)

    @classmethod
    def refuses(cls, *on: Operation, times: int | None = 1) -> Self:
        return cls(kind=FaultKind.DROP, on=frozenset(on) or EVERYTHING, times=times)

    @classmethod
    def hangs(cls, *on: Operation, times: int | None = 1, after_work: bool = False) -> Self:
        return cls(kind=FaultKind.HANG, on=frozenset(on) or EVERYTHING, times=times, after_work=after_work)

    @classmethod
    def nonsense(cls, *on: Operation, body: str = "<html>Welcome</html>", times: int | None = 1) -> Self:
        """Take effect, then answer 200 with something that is not the API's."""
        return cls(
            kind=FaultKind.NONSENSE,
            status=200,
            body=body,
            after_work=True,
            on=frozenset(on) or EVERYTHING,
            times=times,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The application has this health for so many seconds, ``None`` for ever."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    status: HealthStatus
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What becomes of a sync, and of the resources that it has applied."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    outcome: Literal["Succeeded", "Failed", "Error"] = "Succeeded"
    message: str = "successfully synced (all tasks run)"
    sync_seconds: float | None = 2.0
    """How long the operation runs; ``None``: for ever."""
    health: tuple[Step, ...] = (Step(status="Progressing", seconds=5.0), Step(status="Healthy"))
    drifts: bool = False
    """The live state differs from the source again as soon as it was applied."""
    unpruned: bool = False
    """A resource is left over, and OutOfSync, where a sync does not prune."""


STANDARD_SCRIPTS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        "slow": Script(sync_seconds=30.0, health=(Step(status="Progressing", seconds=60.0), Step(status="Healthy"))),
        "stuck": Script(sync_seconds=None),
        "sync-failed": Script(outcome="Failed", message="one or more objects failed to apply"),
        "sync-error": Script(outcome="Error", message="ComparisonError: failed to load target state"),
        "degraded": Script(
            health=(
                Step(status="Progressing", seconds=5.0),
                Step(status="Degraded", message='Deployment "app" exceeded its progress deadline'),
            )
        ),
        "flapping": Script(health=(Step(status="Degraded", seconds=20.0), Step(status="Healthy"))),
        "progressing": Script(health=(Step(status="Progressing", message="Waiting for rollout to finish"),)),
        "suspended": Script(health=(Step(status="Suspended"),)),
        "missing": Script(health=(Step(status="Missing"),)),
        "unknown": Script(health=(Step(status="Unknown"),)),
        "drifts": Script(drifts=True),
        "unpruned": Script(unpruned=True),
    }
)
PLAIN: Final = Script()


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Everything that can be told to the server. Times in seconds."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    down: bool = False
    """503 on everything but the control API."""
    latency: float = 0.0
    """What every call waits before it is looked at."""
    token: str | None = None
    """Bearer token that every call must carry, but for session and version."""
    actions: frozenset[str] = frozenset({"get", "create", "update", "delete", "sync"})
    """What the token may do."""
    projects: frozenset[str] = frozenset({"default"})
    namespace: str = "argocd"
    clusters: frozenset[str] = frozenset({"https://kubernetes.default.svc", "in-cluster"})
    broken_repositories: frozenset[str] = frozenset()
    """Repositories that cannot be read."""
    revisions: Mapping[str, str] = field(default_factory=dict)
    """What branches and tags resolve to; others have a commit made of their name."""
    unknown_revisions: frozenset[str] = frozenset()
    sync_window_closed: bool = False
    auto_sync: bool = True
    """Whether the controller syncs applications that are ``automated`` by itself."""
    pickup_seconds: float = 1.0
    """Until the controller takes up an operation, or a changed application."""
    compare_seconds: float = 1.0
    """Until it has compared an application after something changed."""
    faults: tuple[Fault, ...] = ()
    scripts: Mapping[str, Script] = field(default_factory=lambda: STANDARD_SCRIPTS)

    def script(self, annotations: Mapping[str, str]) -> Script:
        return self.scripts.get(annotations.get(BEHAVIOUR_ANNOTATION, ""), PLAIN)

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = _BEHAVIOUR.dump_python(
            replace(self, scripts=dict(self.scripts), revisions=dict(self.revisions)), mode="json"
        )
        return plain

    def changed_by_json(self, changes: Mapping[str, Any]) -> Behaviour:
        """This behaviour with some fields changed; raises ``pydantic.ValidationError`` for what cannot be."""
        return _BEHAVIOUR.validate_python({**self.to_json(), **changes})


_BEHAVIOUR: Final = TypeAdapter(Behaviour)
