"""What a release says of itself: the wheel's metadata, and the changelog."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from packaging.metadata import InvalidMetadata, Metadata
from packaging.version import Version

UNRELEASED = "Unreleased"

_SECTION = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?[^\S\n]*$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def wheel_metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return archive.read(name)


def metadata_problems(raw: bytes, version: str) -> list[str]:
    """What an index would refuse, or show badly."""
    try:
        metadata = Metadata.from_email(raw)
    except ExceptionGroup as group:
        errors = (error for error in group.exceptions if isinstance(error, InvalidMetadata))
        return [f"the metadata's {error.field} is invalid: {error}" for error in errors] or [f"the metadata: {group}"]
    told = {
        "version": str(metadata.version) == version,
        "requires-python": metadata.requires_python is not None,
        "license-expression": metadata.license_expression is not None,
        "license-file": bool(metadata.license_files),
        "summary": bool(metadata.summary),
        "description": bool((metadata.description or "").strip()),
        "description-content-type": metadata.description_content_type == "text/markdown",
    }
    return [f"the metadata's {field} is missing or wrong" for field, is_well in told.items() if not is_well]


def changelog_problems(changelog: str, version: str, tags: Collection[str] = ()) -> list[str]:
    """The newest section is that of this version, with its date, or [Unreleased] as long as the commit has no tag."""
    problems = [f"the commit's tag is {tag}, but the version is {version}" for tag in tags if tag != f"v{version}"]
    problems += [
        f"the changelog's section {name} has no date, as in ## [1.2.3] - 2026-03-15" for name in _dateless(changelog)
    ]
    sections = sections_with_text(changelog)
    released = [name for name in sections if name != UNRELEASED]
    match sections:
        case []:
            problems.append("the changelog has no section with text, such as ## [Unreleased]")
        case [newest, *_] if newest == version:
            pass
        case [newest, *_] if newest != UNRELEASED:
            problems.append(f"the changelog's newest section is {newest}, but the version is {version}")
        case _ if tags:
            problems.append(f"the commit has a tag, but what changed in {version} still stands under [{UNRELEASED}]")
        case _ if released and Version(version) <= Version(released[0]):
            problems.append(f"{released[0]} is released: name the next version in worker_agents/__init__.py")
    return problems


def sections_with_text(changelog: str) -> list[str]:
    """Their names, the newest first. An empty [Unreleased] above a release says nothing."""
    found = list(_SECTION.finditer(changelog))
    return [section["name"] for section in found if changelog[section.end() :].partition("\n## ")[0].strip()]


def _dateless(changelog: str) -> list[str]:
    found = _SECTION.finditer(changelog)
    return [each["name"] for each in found if each["name"] != UNRELEASED and not _DATE.fullmatch(each["date"] or "")]
