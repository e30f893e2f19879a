"""The demo: Kafka, the reference Code Forge and one worker on this machine, and a handful of tickets for them.

What it shows is checked: it ends with 0 only if every ticket became what it should be.
"""

from worker_agents.devkit.demo.play import run_demo

__all__ = ["run_demo"]
