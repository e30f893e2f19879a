"""The whole worker as one document: what it does, what waits and why, and how its surroundings are."""

from worker_agents.overview.overview import Overview, Surroundings

__all__ = ["Overview", "Surroundings"]
