"""The real helm against a real API server, for one namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.chart import CHART, values_for_helm
from tests.support.tools import tool


class HelmFailed(Exception):
    """helm's own words."""


class Helm:
    """Each method is the command of its name, and returns all that it says."""

    def __init__(self, kubeconfig: Path, namespace: str, home: Path) -> None:
        """``home`` keeps helm from the settings and caches of whoever runs the tests."""
        homes = {f"HELM_{kind}_HOME": str(home) for kind in ("CACHE", "CONFIG", "DATA")}
        self._environment = {**os.environ, **homes, "KUBECONFIG": str(kubeconfig), "HELM_NAMESPACE": namespace}

    def install(self, release: str, values: Path | Mapping[str, Any] | None = None, *options: str) -> str:
        """Waits for the pods. Raises :class:`HelmFailed`."""
        return self._with_values("install", release, values, *options)

    def upgrade(self, release: str, values: Path | Mapping[str, Any] | None = None, *options: str) -> str:
        return self._with_values("upgrade", release, values, *options)

    def rollback(self, release: str) -> str:
        return self._run("rollback", release, "--wait", "--timeout=60s")

    def test(self, release: str) -> str:
        return self._run("test", release, "--timeout=60s")

    def uninstall(self, release: str) -> str:
        return self._run("uninstall", release, "--wait", "--timeout=60s")

    def _with_values(self, command: str, release: str, values: Path | Mapping[str, Any] | None, *options: str) -> str:
        file, given = values_for_helm(values or {})
        return self._run(
            command, release, str(CHART), "--wait", "--timeout=60s", "--values", file, *options, given=given
        )

    def _run(self, *arguments: str, given: str = "") -> str:
        ended = subprocess.run(
            [str(tool("helm")), *arguments],
            input=given,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        if ended.returncode:
            raise HelmFailed(ended.stdout)
        return ended.stdout
