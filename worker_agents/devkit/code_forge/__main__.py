"""`python -m worker_agents.devkit.code_forge`: the reference Code Forge as a process of its own."""

import sys

from worker_agents.devkit.code_forge.behaviour import Behaviour
from worker_agents.devkit.code_forge.server import CodeForgeServer
from worker_agents.devkit.reference_program import run_program

if __name__ == "__main__":
    sys.exit(run_program("worker_agents.devkit.code_forge", CodeForgeServer, Behaviour()))
