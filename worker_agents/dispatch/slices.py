"""Doing something to tens of thousands of tickets while heartbeats and tasks go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 100


def in_slices(items: Sequence[T], act: Callable[[T], None], start: int = 0) -> None:
    """Act on the first items at once, on the others in later turns of the event loop: each must then look whether it is still due."""
    for item in items[start : start + _AT_ONCE]:
        act(item)
    if (later := start + _AT_ONCE) < len(items):
        asyncio.get_running_loop().call_soon(in_slices, items, act, later)
