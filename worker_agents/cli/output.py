"""What commands print: JSON for programs, tables and lines for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from worker_agents.model.text import printable

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 200


def print_json(document: object) -> None:
    """One document, indented."""
    _write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str) + b"\n")


def print_json_line(document: object) -> None:
    """One document on one line, out at once."""
    _write(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS, default=str) + b"\n")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def new_console(*, stderr: bool = False) -> Console:
    """A console that does not fold text when nobody's screen is that wide."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Cells are plain text: what looks like markup in them stays as it is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    new_console().print(table)


def time_text(epoch_ms: int) -> str:
    """UTC, to the second."""
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(epoch_ms)


def bytes_document(value: bytes | None) -> dict[str, Any]:
    """Bytes in JSON: as text where they are UTF-8, otherwise as base64."""
    import base64

    if value is None:
        return {"text": None}
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
