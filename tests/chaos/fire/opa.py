"""A real OPA that can be killed, frozen and started again on its port."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.tools import TOOLS
from tests.support.waiting import listening
from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.ports import free_ports

_HOST = "127.0.0.1"
_POLICY = "package policy\n\ndefault allow := false\n\nallow if input.allowed == true\n"


class Opa:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "policy.rego").write_text(_POLICY)
        self._port = free_ports(1)[0]
        command = ["run", "--server", "--addr", f"{_HOST}:{self._port}", "--disable-telemetry", str(folder)]
        self._process = ChildProcess([str(TOOLS / "opa"), *command], log=folder.with_suffix(".log"))

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}"

    async def start(self) -> None:
        self._process.start()
        await listening(_HOST, self._port)

    async def stop(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.signal(signal.SIGCONT)
