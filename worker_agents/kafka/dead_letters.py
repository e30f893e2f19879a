"""Dead letters: the record byte for byte, with the reason in headers.

The ``__dlq.errors.*`` names are those of Apache Kafka's own dead-letter queues (KIP-298, KIP-1034).
"""

from __future__ import annotations

from worker_agents.dispatch.journal import DeadLetter
from worker_agents.kafka.codec import Headers, OutRecord
from worker_agents.model.structs import struct

ERROR_PREFIX = "__dlq.errors."
OWN_PREFIX = "worker-agents."
REASON_HEADER = "worker-agents.reason"
ATTEMPTS_HEADER = "worker-agents.attempts"
WORKER_HEADER = "worker-agents.worker-id"
AT_HEADER = "worker-agents.at"
TRUNCATED_HEADER = "worker-agents.truncated"

_MESSAGE_LIMIT = 4_000  # bytes; a character cut in two at the end does no harm there
_PREVIEW_BYTES = 1_000
# Room for our own headers and the framing of a record.
_OVERHEAD = 8_192


@struct
class DeadLetterFormat:
    """``max_bytes`` is what the dead-letter topic takes in one record."""

    topic: str
    partitions: int
    tickets_topic: str
    group: str
    worker_id: str
    max_bytes: int

    def record(self, letter: DeadLetter, partition: int, now_ms: int) -> OutRecord:
        """The dead letter's record.

        One that would be too big keeps its place in the tickets topic and previews instead of key and value, and
        drops the original headers.
        """
        envelope = letter.envelope
        headers, key, value = envelope.headers, envelope.key, envelope.value
        extra = self._headers(letter, partition, now_ms)
        size = len(value or b"") + len(envelope.key or b"") + _size(headers) + _OVERHEAD
        if size > self.max_bytes:
            extra += ((TRUNCATED_HEADER, str(len(value or b"")).encode()),)
            headers, value = (), (value or b"")[:_PREVIEW_BYTES]
            key = key and key[:_PREVIEW_BYTES]
        # A record with neither key nor value does not exist for Kafka's clients.
        key = key if key is not None or value is not None else b""
        return OutRecord(self.topic, value, key, partition % self.partitions, (*headers, *extra))

    def _headers(self, letter: DeadLetter, partition: int, now_ms: int) -> Headers:
        return (
            (ERROR_PREFIX + "topic", self.tickets_topic.encode()),
            (ERROR_PREFIX + "partition", str(partition).encode()),
            (ERROR_PREFIX + "offset", str(letter.envelope.receipt).encode()),
            (ERROR_PREFIX + "group", self.group.encode()),
            (ERROR_PREFIX + "delivery.count", str(letter.delivery).encode()),
            (ERROR_PREFIX + "message", letter.message.encode(errors="replace")[:_MESSAGE_LIMIT]),
            (REASON_HEADER, letter.reason.value.encode()),
            (ATTEMPTS_HEADER, str(letter.attempts).encode()),
            (WORKER_HEADER, self.worker_id.encode()),
            (AT_HEADER, str(now_ms).encode()),
        )


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value or b"") + 10 for name, value in headers)
