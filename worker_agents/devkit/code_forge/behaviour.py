"""How the reference Code Forge behaves: one frozen value, changed as a whole, readable and writable as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Self, TypedDict

from pydantic import ConfigDict, TypeAdapter

from worker_agents.devkit.code_forge.faults import Fault
from worker_agents.devkit.code_forge.operations import STARTS

BEHAVIOUR_PARAMETER: Final = "behaviour"
"""Key of a ticket's `parameters` that names the script to follow."""


class Phase(IntEnum):
    """How far a piece of work has come; it never goes back."""

    QUEUED = 0
    PROCESSING = 1
    ENDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How long work stays queued and then in processing, counted in seconds or in polls (GETs) of that work.

    `None` is for ever. Counted in polls, `Progress(queued=1, processing=2)` shows queued once, processing twice and
    the end from the fourth poll on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    queued: float | None = 1
    processing: float | None = 1
    unit: Literal["polls", "seconds"] = "polls"

    def phase(self, *, age: float, polls: int) -> Phase:
        """Return the phase of work that is `age` seconds old and has been polled `polls` times, this time included."""
        # The first poll sees the work as it was before any poll: time counts from 0, polls from 1.
        passed = age if self.unit == "seconds" else polls - 1
        if self.queued is None or passed < self.queued:
            return Phase.QUEUED
        if self.processing is None or passed < self.queued + self.processing:
            return Phase.PROCESSING
        return Phase.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What becomes of one piece of work; `faults` are counted for each ticket on its own."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    outcome: str = "completed"
    """The status that it ends with; anything but `completed` and `succeeded` carries `error` and no artifacts."""
    error: str = "generation failed"
    artifacts: int = 1
    datetime_artifacts: bool = False
    """Its artifacts hold a datetime; see `Peculiarities.datetime_artifacts_fail`."""
    progress: Progress | None = None
    """Instead of the behaviour's."""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peculiarities:
    """What the peer's service does and a client must survive (contracts 1.9); each one can be switched off."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    empty_artifacts_500: bool = True
    """Defect 1: a generation without artifacts - queued, processing or failed - is a plain 500 when it is read."""
    pipeline_unknown_polls: int = 1
    """Defect 2: so many first reads of a new pipeline are 404."""
    generation_unknown_polls: int = 0
    """The same for a generation; not seen at the peer, which stores those before it answers."""
    none_as_text: bool = True
    """Defect 3: the error of work without one reads `"None"`."""
    datetime_artifacts_fail: bool = True
    """Defect 4: success with a datetime in its artifacts is stored as failed, without artifacts."""
    expire_after_seconds: float | None = 86_400.0
    """Defect 5: work is forgotten after so long; `None` is never."""
    foreign_ticket_id: bool = True
    """Defect 6: the ticket id in the answer to a started pipeline is a new uuid, not the caller's."""
    no_sbom: bool = True
    """A pipeline that is read shows neither `sbom` nor `signature`."""
    stores_other_status: bool = True
    """A pipeline that ends `requires_review` reads `completed`, one that ends `partial` reads `failed`."""
    stage_as_list: bool = False
    """A pipeline that is read shows all stages that it has reached instead of the present one."""
    bundled_mock: bool = False
    """Pipelines are the peer's bundled mock: one stage a poll, lower-case stages, other fields, no ticket id."""

    @classmethod
    def none(cls) -> Self:
        """Return a service without any of them."""
        return cls(
            empty_artifacts_500=False,
            pipeline_unknown_polls=0,
            none_as_text=False,
            datetime_artifacts_fail=False,
            expire_after_seconds=None,
            foreign_ticket_id=False,
            no_sbom=False,
            stores_other_status=False,
        )


STANDARD_TEMPLATES: Final[Mapping[str, Script]] = MappingProxyType(
    {
        "fail": Script(outcome="failed", error="template cannot be rendered"),
        "slow": Script(progress=Progress(queued=1, processing=9, unit="seconds")),
        "stuck": Script(progress=Progress(processing=None)),
        "empty": Script(artifacts=0),
        "datetime": Script(datetime_artifacts=True),
        "review": Script(outcome="requires_review"),
        "partial": Script(outcome="partial", error="2 of 3 artifacts were built"),
        "flaky": Script(faults=(Fault.answers(503, times=2, on=STARTS),)),
        "down": Script(faults=(Fault.answers(503, times=None),)),
        "rejected": Script(faults=(Fault.answers(400, times=None, on=STARTS),)),
        "lost-answer": Script(faults=(Fault.loses_answer(on=STARTS),)),
        "hang": Script(faults=(Fault.hangs(on=STARTS),)),
        "nonsense": Script(faults=(Fault.nonsense(on=STARTS),)),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Everything that can be told to the server; by default it is the peer's, with keys honoured and no faults."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    down: bool = False
    """503 on everything but the control API."""
    token: str | None = None
    """Bearer token that every call below `/api/` must carry."""
    latency: float = 0.0
    """Seconds that every call waits before it is looked at."""
    idempotency: bool = True
    """Whether `Idempotency-Key` is honoured; the peer itself ignores it."""
    progress: Progress = field(default_factory=Progress)
    """Applies to work that is already under way too."""
    peculiarities: Peculiarities = field(default_factory=Peculiarities)
    faults: tuple[Fault, ...] = ()
    templates: Mapping[str, Script] = field(default_factory=lambda: STANDARD_TEMPLATES)

    def script_name(self, subject: object, parameters: object) -> str | None:
        """Return the name of the script that work follows, if any.

        `parameters["behaviour"]` names it, or else the template or artifact id: `fail` and `fail:anything` are alike.
        """
        chosen = parameters.get(BEHAVIOUR_PARAMETER, subject) if isinstance(parameters, dict) else subject
        name = chosen.partition(":")[0] if isinstance(chosen, str) else None
        return name if name in self.templates else None

    def script(self, name: str | None) -> Script:
        """Return the script of that name, or the one of ordinary work."""
        return self.templates.get(name, PLAIN) if name is not None else PLAIN

    def to_json(self) -> dict[str, Any]:
        """Return the behaviour as plain JSON values."""
        plain: dict[str, Any] = _BEHAVIOUR.dump_python(replace(self, templates=dict(self.templates)), mode="json")
        return plain

    def changed_by_json(self, changes: Mapping[str, Any]) -> "Behaviour":
        """Return this behaviour with some fields changed; peculiarities and templates are merged by name.

        Raises:
            pydantic.ValidationError: a field does not exist or has an impossible value.
        """
        merged = {**self.to_json(), **changes}
        for name in ("peculiarities", "templates"):
            if isinstance(changes.get(name), Mapping):
                merged[name] = {**self.to_json()[name], **changes[name]}
        return _BEHAVIOUR.validate_python(merged)


class BehaviourChanges(TypedDict, total=False):
    """Fields of `Behaviour` to change."""

    down: bool
    token: str | None
    latency: float
    idempotency: bool
    progress: Progress
    peculiarities: Peculiarities
    faults: tuple[Fault, ...]
    templates: Mapping[str, Script]


PLAIN: Final = Script()
_BEHAVIOUR: Final = TypeAdapter(Behaviour)
