"""Which executor serves which task type."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any, Final

from worker_agents.executors.base import BaseTaskExecutor, CodeForge, VaultClient
from worker_agents.model.errors import RegistryError

ENTRY_POINT_GROUP: Final = "worker_agents.executors"
MAX_TYPE_LENGTH: Final = 100

AnyExecutor = BaseTaskExecutor[Any]


class TaskExecutorRegistry:
    """One executor for each task type; mistakes are told at once, as :class:`RegistryError`.

    >>> registry = TaskExecutorRegistry()
    >>> registry.register(MyExecutor(vault_client=vault))
    >>> registry.get("MY_TYPE")
    """

    def __init__(self) -> None:
        self._executors: dict[str, AnyExecutor] = {}

    def register(self, executor: AnyExecutor) -> None:
        """Add an executor under the type that it names itself."""
        if isinstance(executor, type):
            raise RegistryError(f"register an instance, not the class: {executor.__name__}(...)")
        if not isinstance(executor, BaseTaskExecutor):
            raise RegistryError(f"{_name(executor)} is no executor: it does not inherit from BaseTaskExecutor")
        task_type = _checked_type(executor)
        known = self._executors.get(task_type)
        if known is not None:
            raise RegistryError(
                f"two executors for task type {task_type}: {_name(known)} is registered, {_name(executor)} wants to be"
            )
        self._executors[task_type] = executor

    def get(self, task_type: str) -> AnyExecutor:
        """The executor of a type. Raises :class:`RegistryError` when there is none."""
        try:
            return self._executors[task_type]
        except KeyError:
            known = ", ".join(self.types()) or "none"
            raise RegistryError(f"no executor for task type {task_type} (registered: {known})") from None

    def types(self) -> tuple[str, ...]:
        """All types that are served, in alphabetical order."""
        return tuple(sorted(self._executors))

    def __contains__(self, task_type: object) -> bool:
        return task_type in self._executors

    def load_entry_points(
        self,
        *,
        vault_client: VaultClient | None = None,
        code_forge_client: CodeForge | None = None,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    ) -> None:
        """Register what installed distributions offer in the group ``worker_agents.executors``.

        Each entry point names a class; it is made with the two clients. A plug-in that cannot be loaded stops the
        start, with the name of its distribution: a task type that is silently not served helps nobody.
        """
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        for entry_point in sorted(entry_points, key=lambda each: each.name):
            try:
                executor_class = _loaded(entry_point)
                self.register(executor_class(vault_client=vault_client, code_forge_client=code_forge_client))
            # Whatever a foreign module does while it is imported or constructed is told as what it is: its fault.
            except Exception as error:
                raise RegistryError(f"{_origin(entry_point)}: {_told(error)}") from error


def _loaded(entry_point: importlib.metadata.EntryPoint) -> type[AnyExecutor]:
    loaded = entry_point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, BaseTaskExecutor)):
        raise RegistryError(f"{entry_point.value} is no executor: it does not inherit from BaseTaskExecutor")
    return loaded


def _checked_type(executor: AnyExecutor) -> str:
    task_type: object = executor.get_task_type()
    if not isinstance(task_type, str) or not task_type:
        raise RegistryError(f"{_name(executor)}.get_task_type() must return a task type, not {task_type!r}")
    if task_type != task_type.strip().upper() or len(task_type) > MAX_TYPE_LENGTH:
        raise RegistryError(
            f"{_name(executor)}.get_task_type() returns {task_type[:MAX_TYPE_LENGTH]!r}: a task type is in upper case, "
            f"without blanks around it and at most {MAX_TYPE_LENGTH} characters long"
        )
    return task_type


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _origin(entry_point: importlib.metadata.EntryPoint) -> str:
    distribution = entry_point.dist.name if entry_point.dist is not None else "unknown distribution"
    return f"the executor {entry_point.name!r} of {distribution} cannot be used"


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"
