"""Every name of the OpenTelemetry semantic conventions that is used here (1.44.0), and those of our own.

What concerns messaging is still in development there and may be renamed: nothing else spells these out.
https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# resource
SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
SERVICE_INSTANCE_ID = "service.instance.id"

# messaging
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION_NAME = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_DESTINATION_NAME = "messaging.destination.name"
MESSAGING_DESTINATION_PARTITION_ID = "messaging.destination.partition.id"
MESSAGING_CONSUMER_GROUP_NAME = "messaging.consumer.group.name"
MESSAGING_CLIENT_ID = "messaging.client.id"
MESSAGING_MESSAGE_ID = "messaging.message.id"
MESSAGING_MESSAGE_CONVERSATION_ID = "messaging.message.conversation_id"
MESSAGING_KAFKA_OFFSET = "messaging.kafka.offset"
KAFKA = "kafka"
PROCESS = "process"
SEND = "send"

# errors and peers
ERROR_TYPE = "error.type"
PEER_SERVICE = "peer.service"
EXCEPTION = "exception"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

# our own spans and span events
QUEUE_WAIT = "queue wait"
RETRY_WAIT = "retry wait"
ATTEMPT = "attempt"
POLL = "poll"
WAITING = "waiting"
RETRY_SCHEDULED = "retry scheduled"
FALLBACK = "fallback"

# our own attributes
TICKET_ID = "worker_agents.ticket.id"
TASK_TYPE = "worker_agents.task_type"
STATUS = "worker_agents.status"
SIMULATED = "worker_agents.simulated"
ATTEMPTS = "worker_agents.attempts"
ATTEMPT_NUMBER = "worker_agents.attempt"
DELIVERY = "worker_agents.delivery"
RESUMED = "worker_agents.resumed"
OUTCOME = "worker_agents.outcome"
REASON = "worker_agents.reason"
DELAY = "worker_agents.delay"
DURATION = "worker_agents.duration"
POLLS = "worker_agents.polls"
INTEGRATION = "worker_agents.integration"
OPERATION = "worker_agents.operation"


def span_name(operation: str, destination: str) -> str:
    """``process execution.tickets``: what all messaging spans are called after."""
    return f"{operation} {destination}"
