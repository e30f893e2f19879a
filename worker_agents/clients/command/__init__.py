"""Test commands that tickets name: which may run, in what surroundings, and how they end."""

from worker_agents.clients.command.policy import Allowed, CommandPolicy, Refused
from worker_agents.clients.command.runner import CommandRefused, CommandRunner

__all__ = [
    "Allowed",
    "CommandPolicy",
    "CommandRefused",
    "CommandRunner",
    "Refused",
]
