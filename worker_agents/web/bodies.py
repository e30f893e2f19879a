"""What requests and answers of the actions hold: their documents, and the OpenAPI description's source."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from worker_agents.dispatch.pausing import DEFAULT_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from worker_agents.model.errors import Reason
from worker_agents.model.ticket import MAX_TICKET_ID_LENGTH

MAX_LETTERS = 100
"""In one preview, and in one order to replay."""

_MAX_SHOWN = 1_000


def _plain(value: str) -> str:
    """Names and notes end up in logs, results and pages."""
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


def _cut(value: object) -> object:
    """Whoever writes to the dead-letter topic may put anything there, and any amount of it."""
    return value[:_MAX_SHOWN] if isinstance(value, str) else value


Cut = Annotated[str, BeforeValidator(_cut)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_plain)]
Note = Annotated[str, StringConstraints(max_length=500), AfterValidator(_plain)]
LetterPlace = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}[-:][0-9]{1,18}$")]
TicketName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TICKET_ID_LENGTH), AfterValidator(_plain)]
TaskTypeName = Annotated[str, StringConstraints(min_length=1, max_length=100, to_upper=True), AfterValidator(_plain)]

# For what stands alone, in a path or a field of a form.
TICKET_NAME = TypeAdapter[str](TicketName)
TASK_TYPE_NAME = TypeAdapter[str](TaskTypeName)


# --- requests ----------------------------------------------------------------------------------------------------


class Order(BaseModel):
    """Who asks, and why: both go into the log. Either may be absent."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)

    by: Name = "operator"
    reason: Note = ""


class CancelOrder(Order):
    """Both also go into the ticket's result."""


class RetryOrder(Order):
    """Try a waiting ticket at once."""


class PauseOrder(Order):
    """The pause ends by itself after so many seconds."""

    for_seconds: Annotated[float, Field(ge=1, le=LONGEST_PAUSE_SECONDS, allow_inf_nan=False)] = DEFAULT_PAUSE_SECONDS


class ResumeOrder(Order):
    """Start the tickets of a paused type again."""


class DrainOrder(Order):
    """Take nothing more, let what runs end, and stop."""


class ReplayOrder(Order):
    """``letters`` are places in the dead-letter topic, such as ``0-17``; of each of ``tickets`` its newest letter is meant."""

    letters: Annotated[tuple[LetterPlace, ...], Field(max_length=MAX_LETTERS)] = ()
    tickets: Annotated[tuple[TicketName, ...], Field(max_length=MAX_LETTERS)] = ()
    dry_run: bool = False

    @model_validator(mode="after")
    def _says_which(self) -> ReplayOrder:
        if not self.letters and not self.tickets:
            raise ValueError("say which: letters, such as 0-17, or tickets")
        return self


class LetterQuery(BaseModel):
    """The query of the preview."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=MAX_LETTERS)] = 20
    reason: Reason | None = None


# --- answers -----------------------------------------------------------------------------------------------------


class Answer(BaseModel):
    """Every answer says in a sentence what became of the order, or why nothing did."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    detail: str


class HolderBody(BaseModel):
    """The worker to ask instead."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    worker: str
    url: str
    partition: int


class TicketAnswer(Answer):
    """``owner`` is there where the ticket lies in a partition of another worker, and it is known which."""

    ticket_id: str
    outcome: str
    owner: HolderBody | None = None


class TaskTypeAnswer(Answer):
    """``paused_until`` is epoch milliseconds."""

    task_type: str
    outcome: str
    paused_until: int | None = None


class DrainAnswer(Answer):
    outcome: str


class OriginBody(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)

    topic: Cut | None
    partition: int | None
    offset: int | None


class LetterBody(BaseModel):
    """A dead letter; ``timestamp`` is epoch milliseconds, ``preview`` the beginning of the record's value."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    letter: str
    timestamp: int
    reason: Cut
    message: Cut
    ticket_id: str | None
    original: OriginBody
    attempts: int | None
    worker_id: Cut | None
    truncated: bool
    preview: str


class LettersAnswer(Answer):
    """The newest letter comes first."""

    letters: tuple[LetterBody, ...] = ()


class ReplayedBody(BaseModel):
    """``sent_to`` is the record's new place, ``problem`` why it was not sent."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    letter: str
    ticket_id: str | None
    reason: Cut
    partition: int | None
    sent_to: str | None
    problem: str | None


class ReplayAnswer(Answer):
    outcome: str
    dry_run: bool
    letters: tuple[ReplayedBody, ...] = ()


class Problem(Answer):
    """The order was refused before it was looked at."""
