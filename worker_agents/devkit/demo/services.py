"""What the worker of the demo works through: reference servers in this process, and a real OPA beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from worker_agents.devkit import argocd, code_forge
from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.demo.programs import OPA, Programs, told
from worker_agents.devkit.demo.props import POLICY
from worker_agents.devkit.ports import free_ports

Tell = Callable[[str], None]

_OPA_SECONDS = 15.0

# Everything of the peer but the fault that hides a failed generation behind a plain 500.
FORGE = code_forge.Behaviour(
    peculiarities=code_forge.Peculiarities(empty_artifacts_500=False),
    templates={
        **code_forge.STANDARD_TEMPLATES,
        "unhurried": code_forge.Script(progress=code_forge.Progress(queued=1, processing=3, unit="seconds")),
    },
)
ARGOCD = argocd.Behaviour(
    scripts={
        **argocd.STANDARD_SCRIPTS,
        # What an application without a script does, in half the time.
        "": argocd.Script(
            sync_seconds=1.0, health=(argocd.Step(status="Progressing", seconds=2.0), argocd.Step(status="Healthy"))
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Services:
    """``opa_url`` is where OPA would be, too, if it is not there. ``missing`` are the programs that cannot be used."""

    forge: code_forge.CodeForgeServer
    argocd: argocd.ArgoCdServer
    opa_url: str
    missing: frozenset[str]


@asynccontextmanager
async def services(programs: Programs, folder: Path, tell: Tell) -> AsyncIterator[Services]:
    """All of them, running. Call it in the main thread (see :class:`ChildProcess`)."""
    async with (
        AsyncExitStack() as stack,
        code_forge.CodeForgeServer(FORGE) as forge,
        argocd.ArgoCdServer(ARGOCD) as argo,
    ):
        tell(f"the reference Code Forge listens on {forge.url}, the reference Argo CD on {argo.url}")
        (port,) = free_ports(1)
        missing = programs.missing
        if programs.opa is not None and not await _opa(stack, programs.opa, port, folder, tell):
            missing |= {OPA}
        tell(told(missing))
        yield Services(forge, argo, f"http://127.0.0.1:{port}", missing)


async def _opa(stack: AsyncExitStack, program: Path, port: int, folder: Path, tell: Tell) -> bool:
    """Start OPA until the end of ``stack``. False when this one does not serve our policy; why has been told."""
    log = folder / "opa.log"
    address = f"127.0.0.1:{port}"
    command = [str(program), "run", "--server", "--addr", address, "--log-level", "error", str(POLICY)]
    process = ChildProcess(command, log=log)
    process.start()
    stack.callback(process.kill)
    if await _answers(process, f"http://{address}/health"):
        tell(f"OPA listens on http://{address}: {program}")
        return True
    process.kill()
    said = " ".join(log.read_text(errors="replace").split())
    tell(f"OPA was found, but does not serve: {program}: {said[-300:] or 'it says nothing'}")
    return False


async def _answers(process: ChildProcess, url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, timeout=1.0) as http:
        try:
            async with asyncio.timeout(_OPA_SECONDS):
                while process.running:
                    try:
                        return (await http.get(url)).is_success
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
        except TimeoutError:
            pass
    return False
