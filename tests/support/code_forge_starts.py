"""How work begins at the reference Code Forge, and how a worker can be kept from knowing that it did."""

from worker_agents.devkit.code_forge import STARTS, CodeForgeServer, Fault

LOST_ANSWERS = {
    "lost": Fault.loses_answer(on=STARTS, times=2),
    "gateway": Fault.times_out_behind_gateway(on=STARTS, times=2),
    "nonsense": Fault.nonsense(on=STARTS),
    "hang": Fault.hangs(on=STARTS, after_work=True),
}
"""Faults that begin the work all the same."""


def started(forge: CodeForgeServer) -> tuple[int, int]:
    """Start calls for ticket-1, and distinct works that they began."""
    starts = forge.log.starts_by_ticket()["ticket-1"]
    return starts.posts, len(starts.request_ids)
