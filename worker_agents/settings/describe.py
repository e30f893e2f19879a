"""The effective settings as rows, for ``worker-agents config`` and the documents."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import SecretStr

from worker_agents.settings.model import FIELDS, Reference, Settings, variable_of

MASK = "********"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """``source`` is ``default``, ``environment`` or ``file``.

    A set secret shows as asterisks, a reference to one as it stands.
    """

    variable: str
    value_masked: str
    source: str
    description: str


def describe(settings: Settings) -> list[SettingRow]:
    """One row for each variable, in the order of the documents. The text of a value is accepted as its setting."""
    return [
        SettingRow(
            variable=variable_of(name),
            value_masked=_text(getattr(settings, name)),
            source=settings.sources.get(variable_of(name), "default"),
            description=field.description or "",
        )
        for name, field in FIELDS.items()
    ]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return _secret_text(value)
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case tuple():
            return _list_text(value)
        case _:
            return str(value)


def _secret_text(secret: SecretStr) -> str:
    """Where a secret lies is none itself."""
    reference = Reference.read(secret)
    if reference is not None:
        return str(reference)
    return MASK if secret else ""


def _list_text(items: tuple[str, ...]) -> str:
    needs_json = not items or any("," in item for item in items)
    return json.dumps(items) if needs_json else ",".join(items)
