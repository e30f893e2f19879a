"""`python -m worker_agents.devkit.argocd`: the reference Argo CD as a process of its own."""

import sys

from worker_agents.devkit.argocd.behaviour import Behaviour
from worker_agents.devkit.argocd.server import ArgoCdServer
from worker_agents.devkit.reference_program import run_program

if __name__ == "__main__":
    sys.exit(run_program("worker_agents.devkit.argocd", ArgoCdServer, Behaviour()))
