"""From a record to a settled ticket: admission, scheduling, and the way through the engine."""
