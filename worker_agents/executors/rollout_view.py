"""Looking at an application while it is deployed, and how much trouble with that is put up with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from worker_agents.clients.argocd import Application, ApplicationKey, Refusal, ResourceHealth
from worker_agents.executors.base import ExecutionContext
from worker_agents.executors.polling import Patience, Streak
from worker_agents.executors.remote_work_clock import RemoteWorkClock
from worker_agents.executors.rollout_judgement import Ending
from worker_agents.model.errors import IntegrationUnavailable, TaskError

MAX_RESOURCES = 20


class DeployService(Protocol):
    """What it takes to deploy; see ``clients.argocd``."""

    async def upsert_application(
        self,
        application: Mapping[str, Any],
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
        *,
        within: float | None = None,
    ) -> Application: ...

    async def get_application(
        self,
        key: ApplicationKey,
        headers: Mapping[str, str],
        *,
        refresh: Literal["normal"] | None = None,
        within: float | None = None,
    ) -> Application | Refusal: ...

    async def sync_application(
        self,
        key: ApplicationKey,
        headers: Mapping[str, str],
        *,
        infos: Mapping[str, str],
        prune: bool,
        within: float | None = None,
    ) -> Application | Refusal: ...

    async def terminate_operation(self, key: ApplicationKey, headers: Mapping[str, str]) -> None: ...

    async def resource_tree(
        self, key: ApplicationKey, headers: Mapping[str, str], *, within: float | None = None
    ) -> Sequence[ResourceHealth]: ...


class ApplicationGone(Exception):
    """The application does not exist any more."""


@dataclass(frozen=True, slots=True)
class RolloutPatience(Patience):
    """Seconds for which a state that may pass is put up with before it is believed.

    ``degraded``: a rollout may pass through it. ``out_of_sync``: the controller's view of the cluster lags.
    ``moved``: synced and healthy, but compared with another revision than ours.
    """

    degraded: float = 60.0
    out_of_sync: float = 60.0
    moved: float = 20.0

    def of(self, ending: Ending) -> float:
        return {Ending.DEGRADED: self.degraded, Ending.OUT_OF_SYNC: self.out_of_sync}.get(ending, self.moved)


@dataclass(slots=True)
class RolloutView:
    """Reads one application, call after call. ``hint`` is the server's wish, in seconds, for the next one."""

    service: DeployService
    key: ApplicationKey
    context: ExecutionContext
    clock: RemoteWorkClock
    patience: RolloutPatience
    polls: int = 0
    hint: float | None = None
    _missing: Streak = field(default_factory=Streak)
    _unreachable: Streak = field(default_factory=Streak)
    _forbidden: int = 0

    async def look(self, *, working: bool) -> Application | None:
        """One poll; ``None`` where it cannot be seen just now.

        Silence is put up with for a while if real work goes on behind it (``working``), a 404 for a while, and a single
        403: Argo CD answers so when it cannot ask Kubernetes. Then :class:`IntegrationUnavailable`,
        :class:`ApplicationGone` or :class:`IntegrationRejected` is raised.
        """
        self.polls += 1
        self.hint = None
        try:
            answer = await self._read()
        except IntegrationUnavailable as error:
            self.hint = error.retry_after
            if not working or self._unreachable.observe(self.clock.passed()) >= self.patience.unreachable:
                raise
            return None
        self._unreachable.end()
        if isinstance(answer, Application):
            self._missing.end()
            self._forbidden = 0
            return answer
        self._put_up_with(answer)
        return None

    async def _read(self, refresh: Literal["normal"] | None = None) -> Application | Refusal:
        headers, within = self.context.trace_headers(), self.context.remaining()
        return await self.service.get_application(self.key, headers, refresh=refresh, within=within)

    def _put_up_with(self, refusal: Refusal) -> None:
        if refusal.is_missing:
            if self._missing.observe(self.clock.passed()) >= self.patience.missing:
                raise ApplicationGone
            return
        self._forbidden += 1
        if self._forbidden > 1:
            refusal.raised("get")

    async def refreshed(self) -> Application | None:
        """The application, compared anew; ``None`` where Argo CD takes too long over it: it goes on with that by itself."""
        try:
            answer = await self._read(refresh="normal")
        except IntegrationUnavailable:
            return None
        return answer if isinstance(answer, Application) else None

    async def resources(self) -> Sequence[ResourceHealth]:
        """The health of the parts, for the record: nothing hangs on it, so no trouble with it counts."""
        try:
            within = self.context.remaining()
            return await self.service.resource_tree(self.key, self.context.trace_headers(), within=within)
        except TaskError:
            return ()


def unhealthy(resources: Sequence[ResourceHealth]) -> tuple[ResourceHealth, ...]:
    bad = [each for each in resources if each.health is not None and each.health.status != "Healthy"]
    return tuple(bad[:MAX_RESOURCES])


def described(resource: ResourceHealth) -> dict[str, str]:
    """One resource for a result or a checkpoint."""
    health = resource.health
    shown = {
        "kind": resource.kind,
        "name": resource.name,
        "namespace": resource.namespace,
        "health": health.status if health else "",
        "message": health.message[:200] if health else "",
    }
    return {name: value for name, value in shown.items() if value}
