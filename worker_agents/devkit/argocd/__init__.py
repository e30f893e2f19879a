"""The reference Argo CD: its REST API with every peculiarity of contracts 2, faults on demand and a log of calls.

Example:
    >>> async with ArgoCdServer(Behaviour(faults=(Fault.loses_answer(Operation.SYNC),))) as argocd:
    ...     await submit_tickets(argocd_url=argocd.url)
    ...     assert all(each.begun == 1 for each in argocd.log.syncs_by_ticket().values())

An application whose annotation ``behaviour`` names a script of :data:`STANDARD_SCRIPTS` (``degraded``, ``stuck``,
``sync-failed`` ...) follows it.
"""

from worker_agents.devkit.argocd.behaviour import (
    BEHAVIOUR_ANNOTATION,
    STANDARD_SCRIPTS,
    Behaviour,
    Fault,
    Script,
    Step,
)
from worker_agents.devkit.argocd.calls import Call, CallLog, Syncs
from worker_agents.devkit.argocd.operations import Operation
from worker_agents.devkit.argocd.server import ArgoCdServer

__all__ = [
    "BEHAVIOUR_ANNOTATION",
    "STANDARD_SCRIPTS",
    "ArgoCdServer",
    "Behaviour",
    "Call",
    "CallLog",
    "Fault",
    "Operation",
    "Script",
    "Step",
    "Syncs",
]
