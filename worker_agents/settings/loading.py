"""From environment variables to settings, or to the list of everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings.contradictions import contradictions, oddities
from worker_agents.settings.environment import EnvironmentSource
from worker_agents.settings.model import FIELDS, Settings, is_secret, variable_of

_LONGEST_ECHO = 60

# Sentences for what pydantic reports, by its error type; the words in braces come from the error's context.
_SENTENCES = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of the process's environment, or of ``environ``.

    Raises :class:`SettingsInvalid` with all problems, each a line that starts with the variable's name. Values of
    secrets are never part of a problem.
    """
    source = EnvironmentSource(Settings, os.environ if environ is None else environ)
    values = source()
    settings, invalid = _validate(values)
    unknown = source.failed | invalid.keys()
    problems = source.problems + list(invalid.values())
    problems += [str(found) for found in contradictions(settings) if unknown.isdisjoint(found.names)]
    if problems:
        raise SettingsInvalid(problems)
    warnings = (*source.warnings, *oddities(settings))
    return settings.model_copy(update={"warnings": warnings, "sources": source.sources, "secret_origins": source.files})


def _validate(values: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings, with defaults in place of invalid values, and what is wrong with each of those."""
    try:
        return Settings(**values), {}
    except ValidationError as error:
        invalid = dict(_explain(error, values))
    return Settings(**{name: value for name, value in values.items() if name not in invalid}), invalid


def _explain(error: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for details in error.errors(include_url=False):
        name = str(details["loc"][0])
        # A default that is derived from an invalid value is reported too, although nobody set it.
        if name in values:
            yield name, f"{variable_of(name)}: {_sentence(details, name, str(values[name]))}"


def _sentence(details: ErrorDetails, name: str, value: str) -> str:
    template = _SENTENCES.get(details["type"])
    if template is None:
        return details["msg"].removeprefix("Value error, ")
    sentence = template.format(**details.get("ctx", {}))
    return sentence if is_secret(FIELDS[name]) else f"{sentence}, not {_shortened(value)!r}"


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_ECHO else value[:_LONGEST_ECHO] + "…"
