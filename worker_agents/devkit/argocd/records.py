"""An application as the reference server keeps it, and as the API shows it (contracts 2.4 and 2.7)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker_agents.devkit.argocd.behaviour import Script, Step

Json = dict[str, Any]


def timestamp(seconds: float) -> str:
    """Kubernetes' time: whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Live:
    """What the last successful sync has put into the cluster."""

    source: Json
    revision: str
    at: float
    pruned: bool


@dataclass(slots=True)
class Record:
    """One application. ``operation`` is pending or under way; ``state`` that of the latest one taken up."""

    name: str
    metadata: Json
    spec: Json
    created_at: float
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: int = 1
    operation: Json | None = None
    operation_number: int = 0
    state: Json | None = None
    sync: Json = field(default_factory=lambda: {"status": "", "revision": ""})
    health: Json = field(default_factory=dict)
    reconciled_at: float | None = None
    history: list[Json] = field(default_factory=list)
    live: Live | None = None
    deleting: bool = False

    @property
    def project(self) -> str:
        return str(self.spec.get("project") or "default")

    @property
    def source(self) -> Json:
        source: Json = self.spec["source"]
        return source

    @property
    def annotations(self) -> Json:
        return self.metadata.get("annotations") or {}

    @property
    def is_automated(self) -> bool:
        automated = (self.spec.get("syncPolicy") or {}).get("automated")
        return automated is not None and automated.get("enabled", True)

    def step(self, script: Script, now: float) -> Step:
        """The health of what is live."""
        if self.live is None:
            return Step(status="Missing")
        left = now - self.live.at
        for step in script.health:
            if step.seconds is None or left < step.seconds:
                return step
            left -= step.seconds
        return script.health[-1]

    def view(self, namespace: str) -> Json:
        """The Application object."""
        shown: Json = {"metadata": self._metadata(namespace), "spec": self.spec, "status": self._status()}
        if self.operation is not None:
            shown["operation"] = self.operation
        return shown

    def tree(self, script: Script, now: float) -> Json:
        """The answer of resource-tree."""
        if self.live is None:
            return {"nodes": None}
        step = self.step(script, now)
        namespace = self.spec["destination"].get("namespace", "default")
        health = {"status": step.status, **({"message": step.message} if step.message else {})}
        kinds: list[tuple[str, str, Json | None]] = [
            ("apps", "Deployment", health),
            ("", "Service", {"status": "Healthy"}),
            ("", "ConfigMap", None),
        ]
        return {
            "nodes": [
                {
                    "group": group,
                    "version": "v1",
                    "kind": kind,
                    "namespace": namespace,
                    "name": self.name,
                    **({"health": shown} if shown else {}),
                }
                for group, kind, shown in kinds
            ],
            "orphanedNodes": [],
            "hosts": [],
            "shardsCount": 1,
        }

    def _metadata(self, namespace: str) -> Json:
        own: Json = {
            "name": self.name,
            "namespace": namespace,
            "uid": self.uid,
            "resourceVersion": str(self.version),
            "creationTimestamp": timestamp(self.created_at),
        }
        kept = {
            name: self.metadata[name] for name in ("labels", "annotations", "finalizers") if self.metadata.get(name)
        }
        return own | kept

    def _status(self) -> Json:
        status: Json = {
            "sync": {**self.sync, "comparedTo": {"source": self.source}},
            "health": self.health,
            "summary": {"images": [_image(self.live.source)]} if self.live else {},
        }
        if self.reconciled_at is not None:
            status["reconciledAt"] = timestamp(self.reconciled_at)
        if self.state is not None:
            status["operationState"] = self.state
        if self.history:
            status["history"] = self.history
        return status


def _image(source: Json) -> str:
    """What the usual chart makes of the values."""
    parameters = (source.get("helm") or {}).get("parameters") or []
    values = {each["name"]: each["value"] for each in parameters}
    return f"{values.get('image.repository', 'chart-default')}:{values.get('image.tag', '1.0')}"
