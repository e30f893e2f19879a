"""The reference Code Forge: both of its APIs with the peer's peculiarities, faults on demand and a log of calls.

Example:
    >>> async with CodeForgeServer(Behaviour(faults=(Fault.loses_answer(on=STARTS),))) as forge:
    ...     await submit_tickets(code_forge_url=forge.url)
    ...     assert all(len(each.request_ids) == 1 for each in forge.log.starts_by_ticket().values())
"""

from worker_agents.devkit.code_forge.behaviour import (
    STANDARD_TEMPLATES,
    Behaviour,
    Peculiarities,
    Progress,
    Script,
)
from worker_agents.devkit.code_forge.calls import Call, CallLog, Starts
from worker_agents.devkit.code_forge.clock import Clock, ManualClock, SystemClock
from worker_agents.devkit.code_forge.faults import Fault
from worker_agents.devkit.code_forge.operations import API, EVERYTHING, POLLS, STARTS, Operation
from worker_agents.devkit.code_forge.server import CodeForgeServer
from worker_agents.devkit.conversation import FaultKind

__all__ = [
    "API",
    "EVERYTHING",
    "POLLS",
    "STANDARD_TEMPLATES",
    "STARTS",
    "Behaviour",
    "Call",
    "CallLog",
    "Clock",
    "CodeForgeServer",
    "Fault",
    "FaultKind",
    "ManualClock",
    "Operation",
    "Peculiarities",
    "Progress",
    "Script",
    "Starts",
    "SystemClock",
]
