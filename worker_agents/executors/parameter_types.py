"""Types of parameters that several executors read, as producers really send them."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator

from worker_agents.model.json_text import read_json


def _blank_to_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _map(value: object) -> object:
    """A map, or the JSON text of one, as producers over Avro send it; blank text is an empty one."""
    if isinstance(value, str):
        try:
            value = read_json(value) if value.strip() else {}
        except orjson.JSONDecodeError:
            raise ValueError("must be a map, or the JSON text of one") from None
    if not isinstance(value, dict):
        raise ValueError("must be a map, or the JSON text of one")  # noqa: TRY004 # pydantic adds the field's name
    return value


OptionalText = Annotated[str | None, BeforeValidator(_blank_to_none)]
"""Text; blank text counts as absent."""

Values = Annotated[dict[str, Any], BeforeValidator(_map)]
"""A map of any JSON values by name."""

Texts = Annotated[dict[str, str], BeforeValidator(_map)]
"""A map of texts by name."""
