"""A scan by Trivy: which target a ticket means, and the verdict in what was found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from worker_agents.clients.trivy import ScanTarget, TargetKind
from worker_agents.clients.trivy_report import ScanReport
from worker_agents.executors.base import ExecutionContext
from worker_agents.executors.sources import SourceProvider
from worker_agents.executors.validate_parameters import ValidateParameters
from worker_agents.executors.validate_verdict import Verdict
from worker_agents.model.errors import IntegrationDisabled, InvalidParameters
from worker_agents.model.violation import Severity

SAST: Final = "sast"

# The attempt's own limit must not come first: time to end Trivy and to read its report.
_RESERVE_SHARE: Final = 0.1
_RESERVE_SECONDS: Final = 10.0


class Scanner(Protocol):
    """See ``clients.trivy``."""

    def scanners_for(self, kind: TargetKind) -> tuple[str, ...]: ...

    async def scan(self, target: ScanTarget, *, seconds: float) -> ScanReport: ...


@asynccontextmanager
async def scan_target(
    parameters: ValidateParameters, workspaces: SourceProvider | None, context: ExecutionContext
) -> AsyncIterator[ScanTarget]:
    """What to scan, there for the length of the ``with`` block.

    Raises :class:`InvalidParameters` naming what is wrong, and what a checkout raises.
    """
    if parameters.scan_target == "image":
        yield ScanTarget("image", parameters.image or "")
        return
    if workspaces is None:
        raise IntegrationDisabled("this worker has no workspace to scan")
    source = workspaces.source(
        working_dir=parameters.working_dir,
        repo_url=parameters.repo_url,
        revision=parameters.revision,
        log=context.log,
    )
    async with source as directory:
        path = directory
        if parameters.scan_target == "sbom":
            path = await asyncio.to_thread(_file_inside, directory, parameters.sbom_path or "")
        yield ScanTarget(parameters.scan_target, str(path))


def _file_inside(directory: Path, name: str) -> Path:
    """The real path of the bill of materials, which must be a file in ``directory`` with all symbolic links followed."""
    try:
        path = (directory / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidParameters("parameters: sbom_path: there is no such file in the working directory") from error
    if not path.is_relative_to(directory.resolve()):
        raise InvalidParameters("parameters: sbom_path: leads out of the working directory")
    if not path.is_file():
        raise InvalidParameters("parameters: sbom_path: is not a regular file")
    return path


def scan_seconds(parameters: ValidateParameters, limit: float, context: ExecutionContext) -> float:
    """How long the scan may take: the ticket's or the operator's limit, and no longer than the attempt leaves it."""
    remaining = context.remaining()
    return min(parameters.timeout_seconds or limit, remaining - min(_RESERVE_SECONDS, remaining * _RESERVE_SHARE))


def judge_scan(
    target: ScanTarget, report: ScanReport, scanners: tuple[str, ...], fail_severities: frozenset[Severity]
) -> Verdict:
    """Findings of ``fail_severities`` fail the ticket; the others are warnings."""
    failing = [finding for finding in report.findings if finding.severity in fail_severities]
    return Verdict(
        SAST,
        violations=report.findings,
        blocking=fail_severities,
        problem=f"{len(failing)} of {len(report.findings)} findings fail: {worst_first(fail_severities)}"
        if failing
        else None,
        rules_checked=report.checks,
        metadata={
            "client_type": "trivy",
            "trivy_metadata": {
                "target": target.kind,
                "scanners": list(scanners),
                "fail_severities": [severity.value for severity in Severity if severity in fail_severities],
                "version": report.trivy_version,
                "artifact_type": report.artifact_type,
            },
        },
    )


def worst_first(severities: frozenset[Severity]) -> str:
    return ", ".join(severity.value for severity in Severity if severity in severities)
