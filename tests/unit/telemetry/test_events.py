"""Events reach whoever subscribes, and each is named once."""

import importlib
import pkgutil
from types import ModuleType

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
    names = [kind.event for kind in kinds_in(events) if "event" in vars(kind)]
    assert len(names) == len(set(names)) > 20


def test_the_package_offers_the_events_of_all_its_modules() -> None:
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(events.__path__, "worker_agents.telemetry.events.")
    ]
    assert len(modules) > 5
    assert {kind.__name__ for module in modules for kind in kinds_in(module)} <= set(events.__all__)


def kinds_in(module: ModuleType) -> list[type[Event]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Event)]
