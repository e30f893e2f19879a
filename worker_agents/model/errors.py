"""Why things fail: the closed list of reasons and the tree of errors.

WorkerAgentsError
├── TicketRejected            the ticket itself is wrong; never retried
│   ├── Undecodable           no JSON object can be read from the record
│   ├── InvalidTicket         a field is missing or has an impossible value
│   └── InvalidParameters     ``parameters`` do not fit the executor's model
├── TaskError                 an attempt went wrong; says whether another may help
│   ├── TaskTimedOut          the attempt's own time limit passed
│   ├── IntegrationUnavailable  no answer, time-out or 5xx after the client's retries
│   │   └── BreakerOpen       not even tried: it has been down for a while
│   ├── Postponed             there is no room to begin now; costs no attempt
│   ├── IntegrationRejected   a 4xx: our request is wrong, repeating it is useless
│   ├── CredentialsUnavailable  its token cannot be read just now
│   ├── ReportUnreadable      a test report is absent, stale, hostile or none (reports.model)
│   ├── IntegrationDisabled   switched off, and its fallback is ``fail``
│   ├── UnknownOutcome        remote work may have begun; repeating could double it
│   ├── ReportUnreadable      a test report is absent, stale, hostile or none (``reports.model``)
│   ├── LeaseLost             the partition's lease is stale: start nothing
│   └── WorkerStalled         the event loop stood still; what ran for the ticket was killed
├── JournalError              a ticket's state could not be made durable
├── RegistryError             two executors for one type, or none
└── StartupError              the service cannot start; carries the exit code
    ├── SettingsInvalid
    ├── KafkaUnreachable
    ├── KafkaRefused
    ├── VaultUnreachable
    └── TopicLayoutInvalid
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Reason(StrEnum):
    """Stable reason of a FAILED result, a dead letter or a wait: label, result field and rule target."""

    UNDECODABLE = "undecodable"
    INVALID_TICKET = "invalid_ticket"
    INVALID_PARAMETERS = "invalid_parameters"
    UNKNOWN_TASK_TYPE = "unknown_task_type"
    UNSUPPORTED_TASK_TYPE = "unsupported_task_type"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DEPENDENCY_FAILED = "dependency_failed"
    DEPENDENCY_TIMEOUT = "dependency_timeout"
    VERDICT_FAILED = "verdict_failed"
    POLICY_UNDEFINED = "policy_undefined"
    COMMAND_REFUSED = "command_refused"
    NO_TESTS_RAN = "no_tests_ran"
    REPORT_UNREADABLE = "report_unreadable"
    TIMEOUT = "timeout"
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable"
    DEPENDENCY_REJECTED = "dependency_rejected"
    UNKNOWN_OUTCOME = "unknown_outcome"
    RETRIES_EXHAUSTED = "retries_exhausted"
    INTEGRATION_DISABLED = "integration_disabled"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class WorkerAgentsError(Exception):
    """Root of every error that this service raises itself."""


class TicketRejected(WorkerAgentsError):
    """The ticket is wrong and stays wrong: answered FAILED and dead-lettered, never retried."""

    reason = Reason.INVALID_TICKET

    def __init__(self, message: str, *, ticket_id: str | None = None, task_type: str = "") -> None:
        super().__init__(message)
        self.ticket_id = ticket_id
        self.task_type = task_type


class Undecodable(TicketRejected):
    """The record's value is not a JSON object in UTF-8."""

    reason = Reason.UNDECODABLE


class InvalidTicket(TicketRejected):
    """A field of the ticket is missing, of the wrong type, or absurd."""

    reason = Reason.INVALID_TICKET


class InvalidParameters(TicketRejected):
    """``parameters`` do not fit the executor's ``Parameters`` model."""

    reason = Reason.INVALID_PARAMETERS


class TaskError(WorkerAgentsError):
    """An attempt failed. ``retryable`` says whether another attempt may help.

    ``retry_after`` is the server's own wish in seconds and replaces the back-off when given.
    """

    reason = Reason.INTERNAL
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after


class TaskTimedOut(TaskError):
    """The attempt outlived its time limit."""

    reason = Reason.TIMEOUT
    retryable = True


class IntegrationUnavailable(TaskError):
    """An external system is down: connect error, time-out, 5xx or nonsense, after the client's own retries."""

    reason = Reason.DEPENDENCY_UNAVAILABLE
    retryable = True


class BreakerOpen(IntegrationUnavailable):
    """The circuit breaker of ``integration`` is open: nothing was sent. ``retry_after`` is when to ask again, in seconds.

    Where the fallback is ``fail`` the ticket waits for it without using up an attempt.
    """

    def __init__(self, message: str, *, integration: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.integration = integration


class Postponed(TaskError):
    """Nothing was begun, for lack of room: ask again in ``retry_after`` seconds. Costs no attempt, holds no slot."""

    reason = Reason.DEPENDENCY_UNAVAILABLE
    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class IntegrationRejected(TaskError):
    """An external system says that our request is wrong (4xx). Not an outage: never simulated.

    ``status`` is the HTTP status, where there was one.
    """

    reason = Reason.DEPENDENCY_REJECTED

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CredentialsUnavailable(TaskError):
    """The token for an integration cannot be read just now. Not an outage of that integration: never simulated."""

    reason = Reason.DEPENDENCY_UNAVAILABLE
    retryable = True


class IntegrationDisabled(TaskError):
    """The integration is switched off (``*_ENABLED=false``)."""

    reason = Reason.INTEGRATION_DISABLED


class UnknownOutcome(TaskError):
    """Remote work may or may not have started, and repeating the call could start it twice."""

    reason = Reason.UNKNOWN_OUTCOME


class LeaseLost(TaskError):
    """The lease on the ticket's partition is too old to start remote work on its strength."""

    reason = Reason.WORKER_LOST
    retryable = True


class WorkerStalled(TaskError):
    """The event loop stood still for as long as a lease lasts, so what ran for the ticket outside of it was killed.

    Seen by a worker that wakes: the ticket is still its own then, or it is dropped anyway.
    """

    reason = Reason.WORKER_LOST
    retryable = True


class JournalError(WorkerAgentsError):
    """A change of a ticket's state could not be made durable, for a reason of its own (for example its size)."""


class RegistryError(WorkerAgentsError):
    """Two executors for one task type, no executor for it, or an executor that is none."""


class StartupError(WorkerAgentsError):
    """The service cannot start. ``exit_code`` is what the command line answers."""

    exit_code = 1


class SettingsInvalid(StartupError):
    """One or more settings are wrong; ``problems`` names each variable and what is wrong with it."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("invalid settings:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = list(problems)


class KafkaUnreachable(StartupError):
    """No broker answered within the start-up time."""

    exit_code = 3


class KafkaRefused(StartupError):
    """A broker answered and turned this client away: its login, its certificate, or what it may do. Waiting is useless."""

    exit_code = 2


class VaultUnreachable(StartupError):
    """Vault gave no token, or not the secrets that settings refer to, within the start-up time."""

    exit_code = 5


class TopicLayoutInvalid(StartupError):
    """A topic is missing, not compacted, or has the wrong number of partitions."""

    exit_code = 2
