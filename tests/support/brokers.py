"""Brokers that tests of several event loops share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pytest


class _Broker(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


B = TypeVar("B", bound=_Broker)


def need_embedded_kafka() -> None:
    """Skip the test that asks, where what the broker is made of is not installed."""
    pytest.importorskip("jgo", reason="the embedded broker needs the extra `embedded`")


@contextmanager
def running(broker: B) -> Iterator[B]:
    """Not an async fixture's: every test has an event loop of its own, and the broker outlives them all."""
    asyncio.run(broker.start())
    try:
        yield broker
    finally:
        asyncio.run(broker.stop())
