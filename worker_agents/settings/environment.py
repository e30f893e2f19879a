"""Picks the settings out of an environment: text as it stands, secrets also from mounted files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker_agents.settings.model import FIELDS, is_secret, variable_of

Source = Literal["default", "environment", "file"]

_FILE_SUFFIX = "_FILE"
_LARGEST_SECRET = 64 * 1024

# What Kubernetes adds for each Service of the namespace, for example OPA_SERVICE_HOST and OPA_PORT_8181_TCP.
_SERVICE_LINK = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
# The OpenTelemetry SDK knows many more variables than those that are settings here.
_NOT_OURS_ALONE = "OTEL_"
_ALL_SIGNALS, _TRACES_ALONE = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
_SIMILAR = 0.85


class _UnreadableError(Exception):
    """Why a secret's file gives no value: a sentence that lacks the file's name."""


class EnvironmentSource(PydanticBaseSettingsSource):
    """Values by field name, as text.

    Calling it also fills ``sources``, ``files`` (of secrets), ``problems`` and ``warnings``, and names in ``failed`` the fields whose value
    could not be read.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ
        self.sources: dict[str, Source] = {}
        self.files: dict[str, Path] = {}
        self.problems: list[str] = []
        self.failed: set[str] = set()
        self.warnings: list[str] = []

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in FIELDS.items():
            value, variable, _ = self.get_field_value(field, name)
            if value:
                values[name] = value
                self.sources[variable_of(name)] = "file" if variable.endswith(_FILE_SUFFIX) else "environment"
        self.warnings += _likely_typos(self._environ)
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value (empty when unset), the variable that it came from, and that nothing needs decoding."""
        variable = self._variable_of(field_name)
        value = self._environ.get(variable, "")
        if not is_secret(field):
            return value.strip(), variable, False
        file_variable = variable + _FILE_SUFFIX
        path = self._environ.get(file_variable, "").strip()
        if not path:
            return value.rstrip("\r\n"), variable, False
        if value:
            return self._failed(field_name, f"{variable}: set this or {file_variable}, not both")
        return self._from_file(field_name, file_variable, Path(path))

    def _variable_of(self, field_name: str) -> str:
        """As the standard has it, a variable for traces alone goes before the one for all signals."""
        variable = variable_of(field_name)
        specific = variable.replace(_ALL_SIGNALS, _TRACES_ALONE, 1)
        return specific if self._environ.get(specific, "") and specific not in _known_variables() else variable

    def _from_file(self, field_name: str, file_variable: str, path: Path) -> tuple[Any, str, bool]:
        try:
            secret = _read_secret(path)
        except _UnreadableError as error:
            return self._failed(field_name, f"{file_variable}: {path} {error}")
        if secret:
            self.files[field_name] = path
        else:
            self.warnings.append(f"{file_variable}: {path} is empty, so {variable_of(field_name)} is unset")
        return secret, file_variable, False

    def _failed(self, field_name: str, problem: str) -> tuple[Any, str, bool]:
        self.failed.add(field_name)
        self.problems.append(problem)
        return "", variable_of(field_name), False


def _read_secret(path: Path) -> str:
    try:
        if not path.is_file():
            raise _UnreadableError("is not a file" if path.exists() else "does not exist")
        with path.open("rb") as file:
            content = file.read(_LARGEST_SECRET + 1)
    except OSError as error:
        raise _UnreadableError(f"cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_SECRET:
        raise _UnreadableError(f"is larger than {_LARGEST_SECRET // 1024} KiB")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _UnreadableError("is not UTF-8 text") from error


def _likely_typos(environ: Mapping[str, str]) -> Iterator[str]:
    known = _known_variables()
    for variable in sorted(environ.keys() - known):
        family = variable.partition("_")[0] + "_"
        if family == _NOT_OURS_ALONE or _SERVICE_LINK.fullmatch(variable):
            continue
        relatives = [name for name in known if name.startswith(family)]
        similar = difflib.get_close_matches(variable, relatives, n=1, cutoff=_SIMILAR)
        if similar and not environ.get(similar[0]):
            yield f"{variable}: no such setting, it is ignored; did you mean {similar[0]}?"


def _known_variables() -> set[str]:
    variables = {variable_of(name) for name in FIELDS}
    return variables | {variable_of(name) + _FILE_SUFFIX for name, field in FIELDS.items() if is_secret(field)}
