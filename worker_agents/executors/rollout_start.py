"""Writing an application and starting our sync of it, once.

Argo CD honours no idempotency key. So our sync carries the key as an ``infos`` entry, which Argo CD keeps with the
operation; whoever comes after a crash or a lost answer looks for it before anything is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker_agents.clients.argocd import Application
from worker_agents.executors.base import ExecutionContext
from worker_agents.executors.deploy_parameters import Deployment
from worker_agents.executors.rollout_judgement import MARK, End, Ending, OurOperation
from worker_agents.executors.rollout_view import DeployService
from worker_agents.model.errors import BreakerOpen, IntegrationRejected, IntegrationUnavailable

OPERATION = "sync"
WRITING = "application"
MAX_UNANSWERED = 5


@dataclass(slots=True)
class SyncStart:
    """Brings our operation into being. ``may_have_begun`` is true from a lost answer until a look has told.

    ``after`` is when the operation before ours was started.
    """

    service: DeployService
    deployment: Deployment
    context: ExecutionContext
    mark: str
    may_have_begun: bool = False
    after: datetime | None = None
    _unanswered: int = 0

    async def prepare(self) -> Application:
        """Give the application our spec, unless our operation is there already; the application as it is then."""
        known = await self._known()
        if known is not None and self._is_begun(known):
            return known
        document = self.deployment.with_finalizers(known.metadata.finalizers if known else ())
        written = await self.service.upsert_application(
            document,
            self.context.start_remote(WRITING),
            before_repeat=lambda: self.context.start_remote(WRITING),
            within=self.context.remaining(),
        )
        self.context.log(f"application {self.deployment.key.name} is {'updated' if known else 'created'}")
        return written

    async def attempt(self, known: Application) -> Application | End | None:
        """The application with our operation, found in ``known`` or started now; ``None`` while that has to wait."""
        if self._is_begun(known):
            return known
        self.may_have_begun = False
        if not self.deployment.is_source(known.source):
            return End(Ending.SUPERSEDED, "the application was given another source before our sync could begin")
        if known.is_operating:
            return None
        self.after = known.latest_operation.started_at if known.latest_operation else None
        return await self._sync()

    def _is_begun(self, application: Application) -> bool:
        return OurOperation(self.mark).find(application) is not None

    async def _known(self) -> Application | None:
        """The application as it is before we touch it. One that we may not see is left to the upsert to complain of."""
        headers, within = self.context.trace_headers(), self.context.remaining()
        answer = await self.service.get_application(self.deployment.key, headers, within=within)
        return answer if isinstance(answer, Application) else None

    async def _sync(self) -> Application | None:
        headers = self.context.start_remote(OPERATION)
        try:
            answer = await self.service.sync_application(
                self.deployment.key,
                headers,
                infos={MARK: self.mark},
                prune=self.deployment.prune,
                within=self.context.remaining(),
            )
        except IntegrationUnavailable as error:
            self._count_unanswered(error)
            return None
        if isinstance(answer, Application):
            return answer
        if answer.is_sync_window:
            raise IntegrationRejected(
                f"argocd sync: a sync window of project {self.deployment.key.project} forbids it now ({answer.message})"
            )
        return None if answer.is_busy else answer.raised(OPERATION)

    def _count_unanswered(self, error: IntegrationUnavailable) -> None:
        """It may have begun all the same. Look, and ask again only if it has not; but not for ever."""
        self.may_have_begun = True
        self._unanswered += 1
        if self._unanswered >= MAX_UNANSWERED or isinstance(error, BreakerOpen):
            raise error
