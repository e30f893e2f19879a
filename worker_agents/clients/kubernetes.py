"""The Kubernetes API server, asked for one thing: to annotate the pod that this worker runs in.

The service account's token is rotated by the kubelet, so its file is looked at before each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from worker_agents.clients.http import Answer, Call, HttpClient, HttpLimits
from worker_agents.clients.http_tokens import FileToken
from worker_agents.model.errors import CredentialsUnavailable, IntegrationRejected, TaskError, WorkerAgentsError
from worker_agents.telemetry.events import Emit

INTEGRATION: Final = "kubernetes"
POD_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_LIMITS = HttpLimits(read=10.0, whole=15.0, connections=1, idle_connections=1)
_FIELD_MANAGER = "worker-agents"


class PatchTrouble(StrEnum):
    """Why a pod was not annotated."""

    FORBIDDEN = "forbidden"
    NO_SUCH_POD = "no_such_pod"
    REFUSED = "refused"
    UNAUTHENTICATED = "unauthenticated"
    UNAVAILABLE = "unavailable"


class PodNotPatched(WorkerAgentsError):
    """The pod was not annotated, or nobody knows whether it was. ``advice`` is what to do about it."""

    def __init__(self, kind: PatchTrouble, message: str, advice: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.advice = advice


class KubernetesClient:
    """Annotates one pod, over ``http``, which is given over: ``aclose`` closes it. Names are as Kubernetes has them."""

    def __init__(self, http: HttpClient, *, namespace: str, pod: str) -> None:
        self._http = http
        self._namespace = namespace
        self._pod = pod

    @classmethod
    def in_cluster(
        cls, url: str, *, namespace: str, pod: str, token_file: Path, authority: Path, emit: Emit
    ) -> KubernetesClient:
        """As the pod's service account; ``authority`` are the certificates (PEM) to check the API server with.

        It has no circuit breaker: nobody waits for it, and whoever uses it in the background backs off by itself. Raises ``OSError``
        for certificates that cannot be read.
        """
        token = FileToken(token_file)
        http = HttpClient(url, integration=INTEGRATION, emit=emit, token=token, limits=_LIMITS, authority=authority)
        return cls(http, namespace=namespace, pod=pod)

    async def annotate(self, annotations: Mapping[str, str], *, dry_run: bool = False) -> None:
        """Give the pod these annotations beside those that it has; with ``dry_run`` only look whether that would be done.

        Raises :class:`PodNotPatched`.
        """
        options = f"fieldManager={_FIELD_MANAGER}" + ("&dryRun=All" if dry_run else "")
        call = Call(
            operation="patch_pod",
            method="PATCH",
            path=f"/api/v1/namespaces/{self._namespace}/pods/{self._pod}?{options}",
            body={"metadata": {"annotations": dict(annotations)}},
            content_type="application/merge-patch+json",
        )
        try:
            await self._http.send(call, _is_done)
        except TaskError as error:
            kind = _kind_of(error)
            raise PodNotPatched(kind, str(error), self._advice(kind)) from error

    async def aclose(self) -> None:
        await self._http.aclose()

    def _advice(self, kind: PatchTrouble) -> str:
        match kind:
            case PatchTrouble.FORBIDDEN:
                return (
                    f"grant the verb patch on pods of namespace {self._namespace} to the pod's service account, by a Role and a "
                    "RoleBinding; if an admission policy refuses, see to that"
                )
            case PatchTrouble.NO_SUCH_POD:
                return (
                    f"there is no pod {self._pod} in namespace {self._namespace}: take POD_NAME from metadata.name and POD_NAMESPACE "
                    "from metadata.namespace (fieldRef)"
                )
            case PatchTrouble.UNAUTHENTICATED:
                return (
                    "see whether the service account's token is mounted (automountServiceAccountToken) and still valid"
                )
            case PatchTrouble.REFUSED:
                return "see what the API server minds"
            case PatchTrouble.UNAVAILABLE:
                return "see whether the pod reaches the API server at KUBERNETES_API_URL: DNS, network policies"


def _is_done(_: Answer) -> None:
    """A success says all: nobody needs the pod that it shows."""


def _kind_of(error: TaskError) -> PatchTrouble:
    match error:
        case CredentialsUnavailable() | IntegrationRejected(status=401):
            return PatchTrouble.UNAUTHENTICATED
        case IntegrationRejected(status=403):
            return PatchTrouble.FORBIDDEN
        case IntegrationRejected(status=404):
            return PatchTrouble.NO_SUCH_POD
        case IntegrationRejected():
            return PatchTrouble.REFUSED
        case _:
            return PatchTrouble.UNAVAILABLE
