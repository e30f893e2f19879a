"""The state of one reference Argo CD and what its controller does as time passes. Nothing here waits or does I/O.

A sync is taken up, runs and ends; what it applied goes through the steps of its script; the application is compared a
moment after each of these. Until then it shows what was true before, as the real one does.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable
from typing import Any

from worker_agents.devkit.argocd.behaviour import Behaviour, Fault, Script
from worker_agents.devkit.argocd.calls import Call, CallLog
from worker_agents.devkit.argocd.records import Json, Live, Record, timestamp
from worker_agents.model.clock import Clock, SystemClock

_DELETION_SECONDS = 1.0

Action = Callable[[Record, float], None]


class Controller:
    """Applications, call log and behaviour in force."""

    def __init__(self, behaviour: Behaviour | None = None, *, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.log = CallLog()
        self.applications: dict[str, Record] = {}
        self._behaviour = behaviour or Behaviour()
        self._struck: dict[int, int] = {}
        self._agenda: list[tuple[float, int, Record, Action]] = []
        self._order = itertools.count()
        self._moment: float | None = None

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; setting it gives all faults their full number again."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._struck.clear()

    def now(self) -> float:
        """Epoch seconds; while catching up, of what is being done."""
        return self.clock.now_ms() / 1000 if self._moment is None else self._moment

    def catch_up(self) -> None:
        """Do what has become due since the last call, each at its time."""
        if self._moment is not None:
            return
        present = self.now()
        while self._agenda and self._agenda[0][0] <= present:
            self._moment, _, record, action = heapq.heappop(self._agenda)
            if self.applications.get(record.name) is record:
                record.version += 1
                action(record, self._moment)
        self._moment = None

    def take_fault(self, call: Call) -> Fault | None:
        """The first fault that hits this call, charged."""
        for index, fault in enumerate(self._behaviour.faults):
            if call.operation not in fault.on:
                continue
            struck = self._struck[index] = self._struck.get(index, 0) + 1
            if struck > fault.skip and (fault.times is None or struck <= fault.skip + fault.times):
                return fault
        return None

    def script(self, record: Record) -> Script:
        return self._behaviour.script(record.annotations)

    def resolve(self, revision: str) -> str:
        """The commit of a branch or tag."""
        return (
            self._behaviour.revisions.get(revision)
            or hashlib.sha1(revision.encode(), usedforsecurity=False).hexdigest()
        )

    def write(self, name: str, metadata: Json, spec: Json) -> Record:
        """Create the application, or give it this specification; labels and annotations are merged."""
        record = self.applications.get(name)
        if record is None:
            record = self.applications[name] = Record(name, metadata, spec, self.now())
        else:
            merged = {
                each: {**record.metadata.get(each, {}), **metadata.get(each, {})} for each in ("labels", "annotations")
            }
            record.metadata = {**merged, "finalizers": metadata.get("finalizers")}
            record.spec = spec
            record.version += 1
        self._later(self._behaviour.compare_seconds, record, self.compare)
        self.catch_up()
        return record

    def delete(self, record: Record) -> None:
        record.deleting = True
        self._later(_DELETION_SECONDS, record, lambda gone, _: self.forget(gone.name))

    def forget(self, name: str) -> None:
        """Let the application vanish, with all that is still to happen to it."""
        del self.applications[name]

    def begin(self, record: Record, requested: Json, call: Call | None = None) -> None:
        """Set an operation; the state of the one before is cleared, as by the real API server."""
        record.operation, record.state = requested, None
        record.operation_number += 1
        record.version += 1
        if call is not None:
            call.began_operation = True
        number = record.operation_number
        self._later(self._behaviour.pickup_seconds, record, lambda each, at: self._take_up(each, at, number))
        self.catch_up()

    def sync(self, record: Record, initiator: Json) -> None:
        """Begin a sync that is not a client's of the API."""
        revision = self.resolve(record.source.get("targetRevision") or "HEAD")
        self.begin(record, operation(record.source, revision, prune=True, initiator=initiator))

    def terminate(self, record: Record) -> None:
        number = record.operation_number
        if record.state is not None:
            record.state["phase"] = "Terminating"
        self._later(0.0, record, lambda each, at: self._finish(each, at, number, "Failed", "Operation terminated"))

    def compare(self, record: Record, at: float) -> None:
        """Compare with the source: the only thing that changes what is shown of sync and health."""
        script, revision = self.script(record), self.resolve(record.source.get("targetRevision") or "HEAD")
        live = record.live
        is_synced = (
            live is not None
            and live.source == record.source
            and live.revision == revision
            and not script.drifts
            and not (script.unpruned and not live.pruned)
        )
        step = record.step(script, at)
        record.sync = {"status": "Synced" if is_synced else "OutOfSync", "revision": revision}
        record.health = {"status": step.status, **({"message": step.message} if step.message else {})}
        record.reconciled_at = at
        if not is_synced and record.is_automated and self._behaviour.auto_sync:
            self._sync_by_itself(record, revision)

    def _sync_by_itself(self, record: Record, revision: str) -> None:
        """A commit and source is tried once only, whoever tried it."""
        if record.operation is not None:
            return
        last = (record.state or {}).get("operation", {}).get("sync", {})
        if (last.get("source"), last.get("revision")) != (record.source, revision):
            self.sync(record, {"automated": True})

    def _take_up(self, record: Record, at: float, number: int) -> None:
        if record.operation is None or record.operation_number != number:
            return
        sync = record.operation["sync"]
        record.state = {
            "operation": record.operation,
            "phase": "Running",
            "message": "waiting for completion of hook",
            "startedAt": timestamp(at),
            "syncResult": {"revision": sync["revision"], "source": sync["source"]},
        }
        script = self.script(record)
        if script.sync_seconds is not None:
            self._at(
                at + script.sync_seconds,
                record,
                lambda each, then: self._finish(each, then, number, script.outcome, script.message),
            )

    def _finish(self, record: Record, at: float, number: int, phase: str, message: str) -> None:
        if record.operation is None or record.operation_number != number:
            return
        requested, script = record.operation, self.script(record)
        state: Json = record.state or {"operation": requested, "startedAt": timestamp(at), "syncResult": {}}
        state |= {"phase": phase, "message": message, "finishedAt": timestamp(at)}
        state["syncResult"]["resources"] = _results(record, script, phase, requested["sync"]["prune"])
        record.operation, record.state = None, state
        moments = [0.0]
        if phase == "Succeeded":
            self._apply(record, at, requested, state["startedAt"])
            moments += itertools.accumulate(step.seconds for step in script.health if step.seconds is not None)
        for moment in moments:
            self._at(at + moment + self._behaviour.compare_seconds, record, self.compare)

    @staticmethod
    def _apply(record: Record, at: float, requested: Json, started_at: str) -> None:
        sync = requested["sync"]
        record.live = Live(sync["source"], sync["revision"], at, sync["prune"])
        record.history.append(
            {
                "id": len(record.history),
                "revision": sync["revision"],
                "source": sync["source"],
                "deployStartedAt": started_at,
                "deployedAt": timestamp(at),
                "initiatedBy": requested["initiatedBy"],
            }
        )

    def _later(self, seconds: float, record: Record, action: Action) -> None:
        self._at(self.now() + seconds, record, action)

    def _at(self, moment: float, record: Record, action: Action) -> None:
        heapq.heappush(self._agenda, (moment, next(self._order), record, action))


def operation(
    source: Json, revision: str, *, prune: bool, initiator: Json, info: list[Json] | None = None, **more: Any
) -> Json:
    """A sync as it is kept in the Application."""
    requested: Json = {
        "sync": {"source": source, "revision": revision, "prune": prune, **more},
        "initiatedBy": initiator,
        "retry": {},
    }
    return requested | ({"info": info} if info else {})


def _results(record: Record, script: Script, phase: str, prune: bool) -> list[Json]:
    status, message = (
        ("Synced", "configured") if phase == "Succeeded" else ("SyncFailed", "admission webhook denied it")
    )
    namespace = record.spec["destination"].get("namespace", "default")
    common = {"version": "v1", "namespace": namespace, "name": record.name, "syncPhase": "Sync"}
    results = [
        {**common, "group": "apps", "kind": "Deployment", "status": status, "message": message, "hookPhase": "Running"},
        {**common, "group": "", "kind": "Service", "status": "Synced", "message": "unchanged", "hookPhase": "Running"},
    ]
    if script.unpruned and not prune:
        left = {"kind": "ConfigMap", "name": "old", "status": "PruneSkipped", "message": "ignored (requires pruning)"}
        results.append({**common, "group": "", **left})
    return results
