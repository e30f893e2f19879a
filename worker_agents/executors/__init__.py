"""The work itself: one executor for each task type."""
