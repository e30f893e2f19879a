"""Looks at this machine, or container: directories, disk, CPUs, memory; and at the way to the collector of traces."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from worker_agents.cli.doctor.checks import Check
from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless
from worker_agents.clients.vault.threads import CallThreads
from worker_agents.settings import Settings
from worker_agents.settings.cpu import available_cpus
from worker_agents.settings.memory import available_memory

_DIRECTORIES = Subject("machine.directories")
_DISK = Subject("machine.disk")
_SLOTS = Subject("machine.slots")
_COLLECTOR = Subject("telemetry.collector")

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_LITTLE_SPACE, _HARDLY_ANY_SPACE = 2 * _GIB, 200 * _MIB
# Measured with Trivy 0.76 and the whole database; the worker itself, with 200 tickets, has less than 200 MiB.
_SCAN_BYTES, _WORKER_BYTES = 400 * _MIB, 200 * _MIB
_PORTS = {"http": 80, "https": 443}
# Where no port is named gRPC takes this one, with TLS and without; not 4317, where collectors listen.
_GRPC_PORT = 443


def machine_checks(settings: Settings) -> list[Check]:
    async def directories() -> Iterable[Finding]:
        # A mount may hang.
        return await CallThreads(1).run(partial(judge_directories, settings))

    async def slots() -> Iterable[Finding]:
        return judge_slots(settings, available_cpus(), available_memory())

    async def collector() -> Iterable[Finding]:
        return [await _collector(settings)]

    return [
        Check(_DIRECTORIES.check, directories),
        Check(_SLOTS.check, slots),
        Check(_COLLECTOR.check, collector),
    ]


# --- directories and disk --------------------------------------------------------------------------------------------


def judge_directories(settings: Settings) -> list[Finding]:
    """Whether what is written to can be, and has room. Leaves nothing behind."""
    used = _directories(settings)
    if not used:
        return [_DIRECTORIES.skipped("not needed: SUPPORTED_TASK_TYPES has none of the types that write files")]
    fine = _DIRECTORIES.ok(f"{', '.join(used)}: can be written to")
    room = {name: shutil.disk_usage(_nearest(path)).free for name, path in used.items()}
    return [
        *ok_unless((each for name, path in used.items() for each in _unwritable(name, path, settings)), fine),
        *ok_unless(judge_room(room), _DISK.ok(f"{min(room.values()) / _GIB:.1f} GiB are free")),
    ]


def _directories(settings: Settings) -> dict[str, Path]:
    served = settings.supported_task_types
    used: dict[str, Path] = {}
    if served is None or {"TEST", "VALIDATE"} & set(served):
        used |= {"TEST_WORKSPACE_ROOT": settings.test_workspace_root, "SCRATCH_DIRECTORY": settings.scratch_directory}
    if settings.trivy_enabled and not settings.trivy_skip_db_update and (served is None or "VALIDATE" in served):
        used["TRIVY_CACHE_DIR"] = settings.trivy_cache_dir
    return used


def _unwritable(name: str, path: Path, settings: Settings) -> Iterator[Finding]:
    """A directory of our own is made when it is needed; one that somebody named must be there, or can be made."""
    if name == "TEST_WORKSPACE_ROOT" and name in settings.sources and not path.is_dir():
        yield _DIRECTORIES.error(
            f"TEST_WORKSPACE_ROOT: there is no directory {path}",
            why="TEST and VALIDATE tickets with working_dir fail (invalid_parameters).",
            advice="Mount the volume with the sources there, or correct the setting.",
        )
        return
    try:
        with tempfile.TemporaryFile(dir=_nearest(path)):
            return
    except OSError as error:
        problem = error.strerror
    find = _DIRECTORIES.warning if name == "TEST_WORKSPACE_ROOT" else _DIRECTORIES.error
    yield find(
        f"{name}: nothing can be written to {path}: {problem}",
        why=_USES[name],
        advice="Let the worker's user write there, or mount a volume (an emptyDir where the root file system is read-only).",
    )


_USES = {
    "TEST_WORKSPACE_ROOT": "Test programs that write beside the source, such as caches and reports, fail.",
    "SCRATCH_DIRECTORY": "TEST and VALIDATE tickets fail: checkouts and reports have no place.",
    "TRIVY_CACHE_DIR": "VALIDATE sast tickets fail: the database of vulnerabilities has no place.",
}


def judge_room(free: dict[str, int]) -> Iterator[Finding]:
    """``free`` is bytes by the setting whose directory has them."""
    for name, room in free.items():
        if room < _LITTLE_SPACE:
            find = _DISK.error if room < _HARDLY_ANY_SPACE else _DISK.warning
            yield find(
                f"{name}: {room / _MIB:.0f} MiB are free",
                why="A checkout, build output or a database that does not fit fails its ticket.",
                advice="Make room, or use a larger volume.",
            )


def _nearest(path: Path) -> Path:
    """The directory itself, or the one that it would be made in."""
    return next(each for each in (path, *path.parents) if each.is_dir())


# --- slots -----------------------------------------------------------------------------------------------------------


def judge_slots(settings: Settings, cpus: int, memory: int | None) -> list[Finding]:
    """``memory`` is the limit in bytes, ``None`` where there is none."""
    room = "without a limit of memory" if memory is None else f"and {memory / _GIB:.1f} GiB of memory"
    return ok_unless(
        (*_by_cpus(settings, cpus), *_by_memory(settings, memory)),
        _SLOTS.ok(f"they fit {cpus} CPU{'' if cpus == 1 else 's'} {room}"),
    )


def _by_cpus(settings: Settings, cpus: int) -> Iterator[Finding]:
    for name in ("max_concurrent_test", "trivy_concurrent_scans"):
        slots = getattr(settings, name)
        if slots > 2 * cpus:
            yield _SLOTS.warning(
                f"{name.upper()} is {slots}, and this container may use {cpus} CPU{'' if cpus == 1 else 's'}",
                why="Each is a program that computes: all get slower, run into their time limits, and may starve the worker "
                "so that it loses its partitions.",
                advice=f"Lower it to {cpus}, or give the container more CPUs.",
            )


def _by_memory(settings: Settings, memory: int | None) -> Iterator[Finding]:
    if memory is None:
        return
    scans = settings.trivy_concurrent_scans * _SCAN_BYTES if settings.trivy_enabled else 0
    tests = settings.max_concurrent_test * (settings.test_memory_limit_mb or 0) * _MIB
    needed = _WORKER_BYTES + scans + tests
    if needed > memory:
        yield _SLOTS.warning(
            f"all slots together may need {needed / _GIB:.1f} GiB, and the container has {memory / _GIB:.1f} GiB",
            why="The kernel kills what uses most: a scan, a test, or the worker with all that it runs.",
            advice="Lower TRIVY_CONCURRENT_SCANS, MAX_CONCURRENT_TEST or TEST_MEMORY_LIMIT_MB, or raise the limit.",
        )


# --- the collector of traces -----------------------------------------------------------------------------------------


async def _collector(settings: Settings) -> Finding:
    """Whether there is anybody at the collector's address. Nothing is exported."""
    if not settings.tracing_enabled:
        return _COLLECTOR.skipped("tracing is off (OTEL_EXPORTER_OTLP_ENDPOINT)")
    endpoint, (host, port) = settings.collector_endpoint, collector_address(settings)
    try:
        tls = _tls(settings) if endpoint.startswith("https:") else None
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError as error:
        return _COLLECTOR.warning(
            f"no collector is reachable at {endpoint}: {error.strerror or error}",
            why="Traces are lost; tickets are not affected.",
            advice="Check OTEL_EXPORTER_OTLP_ENDPOINT and its port (4317 for gRPC), OTEL_EXPORTER_OTLP_CERTIFICATE and network policies.",
        )
    writer.close()
    return _COLLECTOR.ok(f"somebody listens at {endpoint}")


def collector_address(settings: Settings) -> tuple[str, int]:
    """Host and port that spans are sent to."""
    parts = urlsplit(settings.collector_endpoint)
    usual = _GRPC_PORT if settings.otel_exporter_otlp_protocol == "grpc" else _PORTS[parts.scheme]
    return parts.hostname or "", parts.port or usual


def _tls(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.otel_exporter_otlp_certificate or None)
