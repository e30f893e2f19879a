"""worker-agents: the execution arm of a software-delivery pipeline, a Kafka worker that gives every ticket one result."""

__version__ = "0.1.0"
