"""Documents that others wrote."""

from __future__ import annotations


def null_is_absent(document: object) -> object:
    """The document without its nulls: many write them for what they do not know or leave empty, and it has its default then."""
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if value is not None}
