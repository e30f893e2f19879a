"""Programs for those who work on worker-agents."""
