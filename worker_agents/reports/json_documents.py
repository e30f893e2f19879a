"""JSON that somebody else wrote, loaded within bounds of depth and memory."""

from __future__ import annotations

import io
from collections.abc import Iterator

import orjson

from worker_agents.reports.model import Malformed

# An empty object takes some 20 times the memory of its two characters.
MAX_CONTAINERS = 2_000_000
MAX_LINES = 400_000
# Lines that begin like an object and are none: prints of the tests.
MAX_OTHER_LINES = 10_000

Object = dict[str, object]


def load_json(content: bytes) -> object:
    """The document; ``Malformed`` where it is none, nests over 1,024 levels or has over ``MAX_CONTAINERS`` objects and lists."""
    _check_containers(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"no valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def json_lines(content: bytes) -> Iterator[Object]:
    """The objects of newline-delimited JSON. Other lines, as tools and tests print them in between, are skipped.

    Raises ``Malformed`` while iterating, for more objects than ``MAX_LINES`` or more than that to skip.
    """
    _check_containers(content)
    objects = others = 0
    for line in io.BytesIO(content):
        if not line.startswith(b"{"):
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            others += 1
        else:
            objects += 1
            yield document
        if objects > MAX_LINES or others > MAX_OTHER_LINES:
            raise Malformed(f"more than {MAX_LINES:,} lines of JSON, or {MAX_OTHER_LINES:,} that only look like it")


def _check_containers(content: bytes) -> None:
    if content.count(b"{") + content.count(b"[") > MAX_CONTAINERS:
        raise Malformed(f"more than {MAX_CONTAINERS:,} JSON objects and lists")


def child(parent: Object, key: str) -> Object:
    """The object under ``key``; an empty one where there is none or something else."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def children(parent: Object, key: str) -> list[Object]:
    """The objects of the list under ``key``."""
    value = parent.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(parent: Object, key: str) -> str:
    """The text under ``key``; empty where there is none or something else."""
    value = parent.get(key)
    return value if isinstance(value, str) else ""
