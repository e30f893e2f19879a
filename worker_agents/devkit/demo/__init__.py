"""The demo: Kafka, reference servers, OPA and one worker on this machine, and tickets of every type for them.

What it shows is checked: it ends with 0 only if every ticket became what it should be.
"""

from worker_agents.devkit.demo.play import run_demo
from worker_agents.devkit.demo.programs import Programs

__all__ = ["Programs", "run_demo"]
