"""What an executor is, and what it is given to work with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker_agents.model.errors import IntegrationDisabled, InvalidParameters
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket, describe_problems

MAX_TIMEOUT_SECONDS = 30 * 86_400


class Parameters(BaseModel):
    """Base of every executor's typed parameters.

    Producers over Avro send every value as a string (``"600"``), over JSON as what it is: pydantic's lax mode
    reads both. Unknown parameters are ignored, as the wider platform adds its own.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)

    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS, allow_inf_nan=False)] | None = None


P = TypeVar("P", bound=Parameters)


class VaultClient(Protocol):
    """Reads secrets; see ``clients.vault``."""

    async def get_secret(self, path: str, key: str) -> str: ...


class CodeForge(Protocol):
    """The part of Code Forge that :meth:`BaseTaskExecutor.submit_code_generation` needs; see ``clients.code_forge``."""

    async def submit_generation_request(
        self,
        *,
        ticket_id: str,
        template_id: str,
        parameters: Mapping[str, Any],
        target_repo: str | None = None,
        branch: str | None = None,
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
        within: float | None = None,
    ) -> str: ...


class ExecutionContext(ABC):
    """One attempt, seen by the executor.

    ``attempt`` counts from 1. ``deadline`` is the ticket's own, in epoch seconds, or ``None``. ``resumed_from``
    is the last durable checkpoint of an earlier attempt or delivery, ``None`` when no remote work was begun.
    ``cancel_reason`` is set before the executor's coroutine is cancelled.
    """

    ticket_id: str
    attempt: int
    deadline: float | None
    resumed_from: dict[str, Any] | None
    cancel_reason: str | None = None

    @property
    def cancelled(self) -> bool:
        """True once the attempt is being given up; its coroutine is cancelled right after."""
        return self.cancel_reason is not None

    @abstractmethod
    async def checkpoint(self, data: dict[str, Any]) -> None:
        """Remember remote work, durably when this returns: the next attempt finds it in ``resumed_from``.

        ``data`` is a JSON object. Raises :class:`JournalError` when it cannot be stored (too large, not JSON).
        """

    @abstractmethod
    def start_remote(self, operation: str) -> dict[str, str]:
        """Headers for a call that *starts* remote work: ``Idempotency-Key`` and ``traceparent``.

        The key is the same on every attempt and delivery of the ticket. Call it right before the request: it raises
        :class:`LeaseLost` when this worker can no longer be sure that the ticket is its own.
        """

    @abstractmethod
    def trace_headers(self) -> dict[str, str]:
        """Headers that continue the ticket's trace in any other call."""

    @abstractmethod
    def log(self, line: str) -> None:
        """Add a line to the result's ``logs`` and to the live tail of the status page."""

    @abstractmethod
    def remaining(self) -> float:
        """Seconds left to this attempt; 0 when its time is up."""

    @abstractmethod
    def seconds_since_checkpoint(self) -> float:
        """Seconds since remote work began (the first checkpoint, in whatever attempt); 0 before any."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait without holding up anyone; tests replace the clock behind it."""


_current: ContextVar[ExecutionContext] = ContextVar("worker_agents_execution_context")


def enter(context: ExecutionContext) -> None:
    """Make ``context`` the one that the helpers of :class:`BaseTaskExecutor` act for, in the current asyncio task.

    The engine does this for every attempt; each runs in a task of its own.
    """
    _current.set(context)


class BaseTaskExecutor(ABC, Generic[P]):
    """Runs the tickets of one task type. Subclass it, register it in ``main.py`` or as an entry point.

    One instance serves all tickets at once: keep no state of a ticket on ``self``. Name the model of your parameters
    in the base, ``class MyExecutor(BaseTaskExecutor[MyParameters])``; tickets whose parameters do not fit are answered
    before ``execute`` is called, and :meth:`parameters` gives them typed. Raise :class:`TaskError` (or one of its kinds) for what went wrong; return
    ``TaskResult(success=False, ...)`` for a negative verdict.
    """

    parameters_model: ClassVar[type[Parameters]] = Parameters
    default_timeout_seconds: ClassVar[float] = 600.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base) if get_origin(base) is BaseTaskExecutor else ():
                if isinstance(argument, type) and issubclass(argument, Parameters):
                    cls.parameters_model = argument

    def __init__(self, *, vault_client: VaultClient | None = None, code_forge_client: CodeForge | None = None) -> None:
        self.vault_client = vault_client
        self.code_forge_client = code_forge_client

    @abstractmethod
    def get_task_type(self) -> str:
        """The ``task_type`` that this executor serves, in upper case."""

    @abstractmethod
    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Do the work, or resume it from ``context.resumed_from``, and return what came of it."""

    def parameters(self, ticket: Ticket) -> P:
        """The ticket's parameters, typed. Raises :class:`InvalidParameters` naming each field."""
        try:
            return self.parameters_model.model_validate(ticket.parameters)  # type: ignore[return-value] # P's model
        except ValidationError as error:
            raise InvalidParameters(
                f"parameters: {describe_problems(error)}", ticket_id=ticket.ticket_id, task_type=ticket.task_type
            ) from error

    def time_limit(self, ticket: Ticket) -> float:  # noqa: ARG002 # overriding executors may look at the ticket
        """Seconds that an attempt may take where neither the parameters nor the ticket's SLA say."""
        return self.default_timeout_seconds

    async def get_secret(self, path: str, key: str) -> str:
        """A secret from Vault. Raises :class:`IntegrationDisabled` without Vault."""
        if self.vault_client is None:
            raise IntegrationDisabled("Vault is not configured (VAULT_ENABLED=false), so no secret can be read")
        return await self.vault_client.get_secret(path, key)

    async def submit_code_generation(
        self,
        ticket: Ticket,
        template_id: str,
        parameters: Mapping[str, Any],
        *,
        target_repo: str | None = None,
        branch: str | None = None,
    ) -> str:
        """Start a generation at Code Forge for ``ticket`` and return its request id.

        Checkpoint the id at once: that is what a later attempt resumes from. The call carries the ticket's
        idempotency key; the lease is checked before it and before every repetition of it. Raises
        :class:`IntegrationDisabled` without Code Forge.
        """
        context = _current.get()
        if self.code_forge_client is None:
            raise IntegrationDisabled("Code Forge is not configured (CODE_FORGE_ENABLED=false)")
        return await self.code_forge_client.submit_generation_request(
            ticket_id=ticket.ticket_id,
            template_id=template_id,
            parameters=parameters,
            target_repo=target_repo,
            branch=branch,
            headers=context.start_remote("generate"),
            before_repeat=lambda: context.start_remote("generate"),
            within=context.remaining(),
        )
