"""Wall and CPU time of a process, between its first and its last ticket."""

from __future__ import annotations

import json
import time


class Stopwatch:
    """Begins once; prints ``{"tickets", "seconds", "cpu_seconds"}`` as one line of JSON at the end."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def end(self, tickets: int) -> None:
        assert self._began is not None
        seconds, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        print(json.dumps({"tickets": tickets, "seconds": seconds, "cpu_seconds": cpu}), flush=True)
