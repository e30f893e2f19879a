"""Trivy's JSON report, schema version 2 (``contracts.md`` 4.3), as one list of findings.

Every list in it may be absent, ``Results`` too. Matches of secrets and lines of code are not read at all: what is not
held cannot be repeated.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from worker_agents.model.errors import Reason, TaskError
from worker_agents.model.violation import Severity, Violation

MAX_REPORT_BYTES: Final = 32 * 2**20
SCHEMA_VERSION: Final = 2

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScanReport:
    """``findings`` of every severity; ``checks`` counts the configuration checks that ran, passed or not."""

    findings: tuple[Violation, ...]
    checks: int
    trivy_version: str | None
    artifact_type: str | None


def read_report(path: Path, max_bytes: int = MAX_REPORT_BYTES) -> ScanReport:
    """Read the report that Trivy wrote; slow for a big one, so call it in a thread.

    Raises :class:`TaskError` ``report_unreadable`` when there is none, it is too large or it is not such a report.
    """
    try:
        document = orjson.loads(_content(path, max_bytes))
    except OSError as error:
        raise _unreadable(f"cannot be read ({error.strerror})") from error
    except orjson.JSONDecodeError as error:
        raise _unreadable("is not valid JSON") from error
    if not isinstance(document, dict) or document.get("SchemaVersion") != SCHEMA_VERSION:
        raise _unreadable(f"is not of schema version {SCHEMA_VERSION}")
    results = _objects(document, "Results")
    return ScanReport(
        findings=tuple(finding for result in results for finding in _findings(result)),
        checks=sum(_checks(result) for result in results),
        trivy_version=_text(_object(document, "Trivy"), "Version"),
        artifact_type=_text(document, "ArtifactType"),
    )


def _content(path: Path, max_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable("is no regular file")
        if status.st_size > max_bytes:
            raise _unreadable(f"is larger than {max_bytes / 2**20:g} MiB; scan fewer things at once")
        return file.read(max_bytes)


def _unreadable(problem: str) -> TaskError:
    return TaskError(f"trivy: the report {problem}", reason=Reason.REPORT_UNREADABLE)


def _findings(result: Object) -> Iterator[Violation]:
    target = _text(result, "Target") or ""
    for key, read in _READERS.items():
        for item in _objects(result, key):
            finding = read(item, target)
            if finding is not None:
                yield finding


def _vulnerability(item: Object, target: str) -> Violation:
    package = " ".join(filter(None, (_text(item, "PkgName"), _text(item, "InstalledVersion"))))
    fixed = _text(item, "FixedVersion")
    title = _text(item, "Title") or _text(item, "VulnerabilityID") or "vulnerability"
    return Violation(
        rule_id=_text(item, "VulnerabilityID") or "vulnerability",
        message=f"{package}: {title}" + (f" (fixed in {fixed})" if fixed else " (no fix yet)"),
        severity=_severity(item),
        resource=package or None,
        location=_text(item, "PkgPath") or target or None,
    )


def _misconfiguration(item: Object, target: str) -> Violation | None:
    if item.get("Status", "FAIL") != "FAIL":
        return None
    cause = _object(item, "CauseMetadata")
    rule_id = _text(item, "ID") or _text(item, "AVDID") or "misconfiguration"
    return Violation(
        rule_id=rule_id,
        message=_text(item, "Message") or _text(item, "Title") or rule_id,
        severity=_severity(item),
        resource=_text(cause, "Resource"),
        location=_place(target, cause),
    )


def _secret(item: Object, target: str) -> Violation:
    rule_id = _text(item, "RuleID") or "secret"
    return Violation(
        rule_id=rule_id,
        message=f"secret found: {_text(item, 'Title') or rule_id}",
        severity=_severity(item),
        location=_place(target, item),
    )


def _license(item: Object, target: str) -> Violation:
    name = _text(item, "Name") or "license"
    package = _text(item, "PkgName")
    return Violation(
        rule_id=name,
        message=f"license {name} ({_text(item, 'Category') or 'unclassified'})" + (f" of {package}" if package else ""),
        severity=_severity(item),
        resource=package,
        location=_text(item, "FilePath") or target or None,
    )


_READERS: Final[dict[str, Callable[[Object, str], Violation | None]]] = {
    "Vulnerabilities": _vulnerability,
    "Misconfigurations": _misconfiguration,
    "Secrets": _secret,
    "Licenses": _license,
}


def _checks(result: Object) -> int:
    summary = _object(result, "MisconfSummary")
    return sum(_number(summary, key) for key in ("Successes", "Failures"))


def _severity(item: Object) -> Severity:
    name = (_text(item, "Severity") or "").upper()
    return Severity(name) if name in Severity.__members__ else Severity.UNKNOWN


def _place(target: str, lines: Object) -> str | None:
    start = _number(lines, "StartLine")
    return f"{target}:{start}" if start else target or None


def _objects(parent: Object, key: str) -> list[Object]:
    value = parent.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(parent: Object, key: str) -> Object:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _number(parent: Object, key: str) -> int:
    """0 where there is none. To Python, ``true`` is one too."""
    value = parent.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text(parent: Object, key: str) -> str | None:
    value = parent.get(key)
    return value if isinstance(value, str) and value else None
