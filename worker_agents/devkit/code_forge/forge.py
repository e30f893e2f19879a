"""The state of one reference Code Forge, shared by its API, its faults and its control API."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Unpack

from worker_agents.devkit.code_forge.behaviour import Behaviour, BehaviourChanges, Script
from worker_agents.devkit.code_forge.calls import Call, CallLog
from worker_agents.devkit.code_forge.clock import Clock, SystemClock
from worker_agents.devkit.code_forge.faults import Fault, FaultBudgets
from worker_agents.devkit.code_forge.views import MOCK_PROGRESS
from worker_agents.devkit.code_forge.work import Work, WorkKind, Works


class Forge:
    """Work, call log and behaviour in force. Nothing here waits or does I/O."""

    def __init__(self, behaviour: Behaviour | None = None, *, clock: Clock | None = None) -> None:
        """Begin without work, with the given behaviour or the default one."""
        self.clock: Clock = clock or SystemClock()
        self.log = CallLog()
        self._works = Works()
        self._behaviour = behaviour or Behaviour()
        self._budgets = FaultBudgets()

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; setting it gives all faults their full number again."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._budgets.restart()

    def change(self, **changes: Unpack[BehaviourChanges]) -> None:
        """Change some fields; faults are counted anew only where `faults` or `templates` are among them."""
        self._adopt(replace(self._behaviour, **changes), changes)

    def change_by_json(self, changes: Mapping[str, Any]) -> None:
        """Change some fields as `change()` does; raises as `Behaviour.changed_by_json` does."""
        self._adopt(self._behaviour.changed_by_json(changes), changes)

    def _adopt(self, behaviour: Behaviour, changes: Mapping[str, Any]) -> None:
        self._behaviour = behaviour
        if "faults" in changes or "templates" in changes:
            self._budgets.restart()

    def take_fault(self, call: Call, script: str | None) -> Fault | None:
        """Return the fault that hits this call and charge it: those of the behaviour first, then the script's."""
        operation, ticket_id = call.operation, call.ticket_id
        hit = self._budgets.take(self._behaviour.faults, owner="", operation=operation, ticket_id=ticket_id)
        if hit is None and script is not None:
            faults = self._behaviour.script(script).faults
            owner = f"{script} {ticket_id}"
            hit = self._budgets.take(faults, owner=owner, operation=operation, ticket_id=ticket_id)
        return hit

    def begin(self, kind: WorkKind, call: Call, subject: str, parameters: object) -> Work:
        """Begin work for a start call, or find the work of its idempotency key, and note which."""
        key = call.idempotency_key if self._behaviour.idempotency else None
        known = self._works.begun_with(kind, key)
        if known is not None and self._is_alive(known):
            self.log.worked(call, known.id, "reused")
            return known
        work = self._works.begin(
            kind,
            ticket_id=call.ticket_id,
            subject=subject,
            script=self._behaviour.script_name(subject, parameters),
            key=key,
            now=self.clock.now(),
        )
        self.log.worked(call, work.id, "created")
        return work

    def known(self, kind: WorkKind, work_id: str) -> Work | None:
        """Return work that exists and has not expired, whether or not a poll would see it yet."""
        work = self._works.find(kind, work_id)
        return work if work is not None and self._is_alive(work) else None

    def polled(self, kind: WorkKind, work_id: str) -> Work | None:
        """Count a poll of that work and return it, moved on; `None` is a 404."""
        work = self.known(kind, work_id)
        if work is None:
            return None
        if work.unknown_polls < self._unknown_polls(kind):
            work.unknown_polls += 1
            return None
        work.polls += 1
        self._move_on(work)
        return work

    def generations(self) -> Iterator[Work]:
        """Return every generation that has not expired, moved on without counting a poll."""
        for work in self._works.of_kind(WorkKind.GENERATION):
            if self._is_alive(work):
                self._move_on(work)
                yield work

    def script_of(self, work: Work) -> Script:
        """Return the script that this work follows."""
        return self._behaviour.script(work.script)

    def _move_on(self, work: Work) -> None:
        mock = work.kind is WorkKind.PIPELINE and self._behaviour.peculiarities.bundled_mock
        progress = MOCK_PROGRESS if mock else self.script_of(work).progress or self._behaviour.progress
        work.move_on(progress, self.clock.now())

    def _unknown_polls(self, kind: WorkKind) -> int:
        peculiarities = self._behaviour.peculiarities
        if kind is WorkKind.PIPELINE:
            return peculiarities.pipeline_unknown_polls
        return peculiarities.generation_unknown_polls

    def _is_alive(self, work: Work) -> bool:
        lifetime = self._behaviour.peculiarities.expire_after_seconds
        if lifetime is None or self.clock.now() - work.created_at < lifetime:
            return True
        self._works.forget(work)
        return False
