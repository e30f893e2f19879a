"""Events reach whoever subscribes, and each is named once."""

from worker_agents.telemetry import events
from worker_agents.telemetry.events import Event, EventBus, WorkerStopped


def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = EventBus()
    seen: list[tuple[str, Event]] = []
    bus.subscribe(lambda event: seen.append(("first", event)))
    bus.subscribe(lambda event: seen.append(("second", event)))
    event = WorkerStopped("worker-1")
    bus.emit(event)
    assert seen == [("first", event), ("second", event)]


def test_names_of_events_are_unique() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    names = [kind.event for kind in kinds if "event" in vars(kind)]
    assert len(names) == len(set(names)) > 20
