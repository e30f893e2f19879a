"""The memory of one partition: what its state topic says of every ticket."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from worker_agents.kafka.codec import Meta, Owner, StateRecordInvalid, decode_state
from worker_agents.model.state import Done, KnownState, TicketState


class TicketStates:
    """The map that the ledger keeps and the state topic restores. Pure: no I/O, no clock.

    ``active`` holds the unsettled tickets, ``done`` the settled ones in the order in which they were settled.
    ``position`` is the offset of the state partition up to which the map is complete.
    """

    def __init__(self) -> None:
        self.active: dict[str, TicketState] = {}
        self.done: dict[str, Done] = {}
        self.floor: int | None = None
        self.owner: Owner | None = None
        self.meta: Meta | None = None
        self.position = 0

    def clear(self) -> None:
        self.active.clear()
        self.done.clear()
        self.floor = self.owner = self.meta = None
        self.position = 0

    def lookup(self, key: str) -> KnownState | None:
        return self.done.get(key) or self.active.get(key)

    def put(self, key: str, state: KnownState) -> None:
        if isinstance(state, Done):
            self.active.pop(key, None)
            self.done.pop(key, None)
            self.done[key] = state
        else:
            self.done.pop(key, None)
            self.active[key] = state

    def forget(self, key: str) -> None:
        self.active.pop(key, None)
        self.done.pop(key, None)

    def apply(self, key: str, value: bytes | None) -> None:
        """Take in one record of the state topic. Raises :class:`StateRecordInvalid`; the map is then unchanged."""
        if value is None:
            self.forget(key)
            return
        match decode_state(key, value):
            case Owner() as owner:
                self.owner = owner
            case Meta() as meta:
                self.meta = meta
            case int() as floor:
                self.floor = floor
            case state:
                if key.startswith("@") and not isinstance(state, Done):
                    raise StateRecordInvalid(f"the reserved key {key!r} with the state of a ticket")
                self.put(key, state)

    def settled_offsets(self, floor: int) -> Iterator[int]:
        """Offsets at or above ``floor`` that were settled out of order."""
        return (done.offset for done in self.done.values() if done.offset >= floor)

    def forgettable(self, older_than_ms: int, limit: int) -> list[str]:
        """Up to ``limit`` keys settled before that time and below the floor: the oldest first.

        Only the front of the queue is looked at, as settling order is nearly time order.
        """
        floor = self.floor or 0
        return [
            key
            for key, done in islice(self.done.items(), limit)
            if done.offset < floor and (done.at < older_than_ms or key.startswith("@offset-"))
        ]
