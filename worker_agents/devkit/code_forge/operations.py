"""Names of what a client can ask of Code Forge; routes, faults and the call log share them."""

from enum import StrEnum


class Operation(StrEnum):
    """One call of the API, or `OTHER` for anything it does not offer."""

    START_GENERATION = "start_generation"
    POLL_GENERATION = "poll_generation"
    LIST_GENERATIONS = "list_generations"
    START_PIPELINE = "start_pipeline"
    POLL_PIPELINE = "poll_pipeline"
    WEBHOOK = "webhook"
    HEALTH = "health"
    READY = "ready"
    METRICS = "metrics"
    OTHER = "other"


STARTS = frozenset({Operation.START_GENERATION, Operation.START_PIPELINE})
POLLS = frozenset({Operation.POLL_GENERATION, Operation.POLL_PIPELINE})
API = STARTS | POLLS | {Operation.LIST_GENERATIONS, Operation.WEBHOOK}
EVERYTHING = frozenset(Operation)
