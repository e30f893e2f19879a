"""JSON that is read to be handed on: what could not be written again is refused where it comes in."""

from __future__ import annotations

from typing import Any, Final

import orjson

MAX_DEPTH: Final = 200

# orjson reads 1,024 levels and writes 254. What lies between is what we put around something that we hand on.
_LEVELS_WRITTEN: Final = 254
_ENVELOPE: Final = _LEVELS_WRITTEN - MAX_DEPTH


def read_json(text: bytes | str) -> Any:
    """The document. Raises :class:`orjson.JSONDecodeError`, also where it nests deeper than ``MAX_DEPTH`` levels."""
    document = orjson.loads(text)
    if nests_too_deep(document, text):
        raise orjson.JSONDecodeError(f"nested deeper than {MAX_DEPTH} levels", "", 0)
    return document


def nests_too_deep(document: Any, text: bytes | str) -> bool:
    """Whether ``document``, which was read from ``text`` or is a part of what was, could not be handed on."""
    return _containers(text) > MAX_DEPTH and not _is_writable(document)


def _containers(text: bytes | str) -> int:
    """At least as many as there are levels."""
    if isinstance(text, str):
        return text.count("[") + text.count("{")
    return text.count(b"[") + text.count(b"{")


def _is_writable(document: Any) -> bool:
    for _ in range(_ENVELOPE):
        document = [document]
    try:
        orjson.dumps(document)
    except TypeError:
        return False
    return True
