"""Text from anywhere, for people to read."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without control characters: tickets come from anywhere, and a terminal obeys escape sequences."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def preview(value: bytes | None, limit: int = 80) -> str:
    """The beginning of a record's value as one line of text."""
    if value is None:
        return "(no value)"
    text = value[: limit * 4].decode(errors="replace").replace("\n", " ")
    return printable(text if len(text) <= limit else text[: limit - 1] + "…")
