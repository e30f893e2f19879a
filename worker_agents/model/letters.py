"""Dead letters as operators see them, and where a ticket is held."""

from __future__ import annotations

from worker_agents.model.structs import struct


@struct
class Origin:
    """Where the record of a dead letter came from; ``None`` where its headers do not say so in a way that can be true."""

    topic: str | None
    partition: int | None
    offset: int | None


@struct
class Letter:
    """A dead letter. ``letter`` is its own place in the dead-letter topic (``partition-offset``), ``timestamp`` epoch ms.

    ``truncated``: it was too big to be kept whole. ``preview`` is the beginning of its value.
    """

    letter: str
    timestamp: int
    reason: str
    message: str
    ticket_id: str | None
    original: Origin
    attempts: int | None
    worker_id: str | None
    truncated: bool
    preview: str


@struct
class Replayed:
    """What became of an order to send a letter again. ``sent_to`` is its new place, ``problem`` why it has none.

    Both are ``None`` where it could be sent, and nobody asked for more than to know that.
    """

    letter: str
    ticket_id: str | None
    reason: str
    partition: int | None
    sent_to: str | None
    problem: str | None


@struct
class Holder:
    """The worker that holds a partition, as it wrote itself into its lease."""

    partition: int
    worker: str
    url: str
