"""What a DEPLOY ticket may ask for (``contracts.md`` 1.8), and the Application that it comes to (2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from worker_agents.clients.argocd import ApplicationKey
from worker_agents.executors.base import Parameters
from worker_agents.model.errors import InvalidParameters
from worker_agents.model.json_text import read_json
from worker_agents.model.ticket import Ticket

PROVIDER = "argocd"
NO_IMAGE = "latest"
"""The wider platform's default image: it names none, so the chart's own is used."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_IMAGE = re.compile(
    r"(?P<name>[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+|[a-z0-9._-]+)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(@sha256:(?P<digest>[0-9a-f]{64}))?"
)


def _dns_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("must be a DNS-1123 label: at most 63 of a-z, 0-9 and '-', no '-' at either end")
    return value


def _dns_subdomain(value: str) -> str:
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise ValueError("must be a DNS-1123 subdomain: at most 253 of a-z, 0-9, '-' and '.', no '-' or '.' at an end")
    return value


def _one_word(value: str) -> str:
    if not value.isprintable() or " " in value:
        raise ValueError("must not contain spaces or control characters")
    return value


def _map(value: object) -> object:
    """A map, or the JSON text of one, as producers over Avro send it; numbers and booleans become text."""
    if isinstance(value, str):
        try:
            value = read_json(value)
        except orjson.JSONDecodeError:
            raise ValueError("must be a map") from None
    if not isinstance(value, dict):
        raise ValueError("must be a map")  # noqa: TRY004 # pydantic reports a ValueError with the field's name
    return {
        key: each if isinstance(each, str) else orjson.dumps(each).decode()
        for key, each in value.items()
        if each is not None
    }


def _keys(values: dict[str, str]) -> dict[str, str]:
    for key in values:
        prefix, slash, name = key.rpartition("/")
        if not _KEY_NAME.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            raise ValueError(f"{key[:80]!r} is no Kubernetes key: [prefix/]name, at most 63 characters in the name")
    return values


def _label_values(values: dict[str, str]) -> dict[str, str]:
    for key, value in values.items():
        if value and not _KEY_NAME.fullmatch(value):
            raise ValueError(f"the value of {key[:80]!r} must be at most 63 of A-Z, a-z, 0-9, '-', '_' and '.'")
    return values


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
DnsSubdomain = Annotated[str, AfterValidator(_dns_subdomain)]
Word = Annotated[str, AfterValidator(_one_word), Field(min_length=1, max_length=1000)]
Annotations = Annotated[dict[str, str], BeforeValidator(_map), AfterValidator(_keys)]
Labels = Annotated[Annotations, AfterValidator(_label_values)]


class DeployParameters(Parameters):
    """Parameters of DEPLOY; what is absent, ``null`` or blank has its default. ``poll_interval`` in seconds.

    ``chart_path`` is a directory of the git repository ``repo_url``; with ``chart`` that is a Helm repository instead.
    ``cluster_server`` is the cluster's URL, or its name in Argo CD. ``argocd_namespace`` is given only where
    applications live outside Argo CD's own namespace.
    """

    provider: str = PROVIDER
    namespace: DnsLabel = "default"
    deployment_name: DnsSubdomain | None = None
    image: str = NO_IMAGE
    replicas: Annotated[int, Field(ge=0, le=10_000)] = 1
    sync_strategy: Literal["auto", "manual"] = "auto"
    poll_interval: Annotated[float, Field(ge=0.1, le=300, allow_inf_nan=False)] = 5.0
    argocd_namespace: DnsLabel | None = None
    labels: Labels = Field(default_factory=dict)
    annotations: Annotations = Field(default_factory=dict)
    project: DnsSubdomain = "default"
    repo_url: Word | None = None
    chart_path: Word = "."
    chart: Word | None = None
    revision: Word = "HEAD"
    cluster_server: Word = "https://kubernetes.default.svc"
    prune: bool = True

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, document: object) -> object:
        if not isinstance(document, dict):
            return document
        return {
            name: value
            for name, value in document.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        }

    @field_validator("provider", mode="after")
    @classmethod
    def _only_argo_cd(cls, provider: str) -> str:
        if provider.lower() != PROVIDER:
            raise ValueError(f"{provider[:40]!r} is not available: this worker deploys through Argo CD only (argocd)")
        return PROVIDER

    @field_validator("sync_strategy", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("image", mode="after")
    @classmethod
    def _image_reference(cls, image: str) -> str:
        if not _IMAGE.fullmatch(image):
            raise ValueError("must be an image reference: [registry/]name[:tag][@sha256:digest]")
        return image

    @field_validator("repo_url", mode="after")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        try:
            has_password = url is not None and "://" in url and bool(urlsplit(url).password)
        except ValueError:  # its own message would repeat the address, and with it the password
            raise ValueError("is not an address") from None
        if has_password:
            raise ValueError("must not carry a password: register the repository's credentials in Argo CD")
        return url


@dataclass(frozen=True, slots=True)
class Deployment:
    """The application that a ticket asks for. ``image`` is ``None`` where the chart's own is wanted."""

    key: ApplicationKey
    document: dict[str, Any]
    image: str | None
    replicas: int
    namespace: str
    prune: bool

    @property
    def source(self) -> dict[str, Any]:
        source: dict[str, Any] = self.document["spec"]["source"]
        return source

    def with_finalizers(self, finalizers: tuple[str, ...]) -> dict[str, Any]:
        """The document that leaves the finalizers of an existing application as they are: an upsert replaces them."""
        if not finalizers:
            return self.document
        return {**self.document, "metadata": {**self.document["metadata"], "finalizers": list(finalizers)}}

    def is_source(self, found: dict[str, Any]) -> bool:
        """Whether an application that has the source ``found`` still asks for this deployment.

        Compared is what decides which manifests come out; what Argo CD adds or leaves out otherwise is not. An answer
        without any source tells nothing.
        """
        return not found or _essence(found) == _essence(self.source)


def deployment_of(ticket: Ticket, parameters: DeployParameters) -> Deployment:
    """The application for a ticket. Raises :class:`InvalidParameters` without ``repo_url``: there is nothing to deploy."""
    if parameters.repo_url is None:
        raise InvalidParameters(
            "parameters: repo_url: is missing: Argo CD deploys from a git or Helm repository",
            ticket_id=ticket.ticket_id,
            task_type=ticket.task_type,
        )
    name = parameters.deployment_name or default_name(ticket.ticket_id)
    image = None if parameters.image == NO_IMAGE else parameters.image
    return Deployment(
        key=ApplicationKey(name, parameters.project, parameters.argocd_namespace),
        document={
            "metadata": _metadata(name, parameters),
            "spec": {
                "project": parameters.project,
                "source": _source(parameters, image),
                "destination": _destination(parameters),
                "syncPolicy": _sync_policy(parameters),
            },
        },
        image=image,
        replicas=parameters.replicas,
        namespace=parameters.namespace,
        prune=parameters.prune,
    )


def default_name(ticket_id: str) -> str:
    """``deploy-{first eight characters of the ticket's id}``, with '-' for what a Kubernetes name cannot hold."""
    plain = re.sub(r"[^a-z0-9]+", "-", ticket_id[:8].lower())
    return f"deploy-{plain.strip('-') or 'ticket'}"


def helm_image(image: str) -> list[dict[str, Any]]:
    """``image`` as the values ``image.repository`` and ``image.tag``, the convention of ``helm create``.

    Charts join the two with a colon. A digest therefore goes half to either side, ``name:1.2@sha256`` and the hex
    digits: joined they are the reference again. Tags are forced to be text: ``1.10`` and ``20260101`` are no numbers.
    """
    found = _IMAGE.fullmatch(image)
    assert found is not None, "checked with the parameters"
    name, tag, digest = found["name"], found["tag"], found["digest"]
    if digest:
        repository, tag = f"{name}:{tag}@sha256" if tag else f"{name}@sha256", digest
    else:
        repository, tag = name, tag or "latest"
    return [
        {"name": "image.repository", "value": repository, "forceString": True},
        {"name": "image.tag", "value": tag, "forceString": True},
    ]


def _metadata(name: str, parameters: DeployParameters) -> dict[str, Any]:
    optional = {
        "namespace": parameters.argocd_namespace,
        "labels": parameters.labels,
        "annotations": parameters.annotations,
    }
    return {"name": name, **{field: value for field, value in optional.items() if value}}


def _source(parameters: DeployParameters, image: str | None) -> dict[str, Any]:
    values = [] if image is None else helm_image(image)
    where = {"chart": parameters.chart} if parameters.chart else {"path": parameters.chart_path}
    return {
        "repoURL": parameters.repo_url,
        **where,
        "targetRevision": parameters.revision,
        "helm": {"parameters": [*values, {"name": "replicaCount", "value": str(parameters.replicas)}]},
    }


def _destination(parameters: DeployParameters) -> dict[str, str]:
    kind = "server" if "://" in parameters.cluster_server else "name"
    return {kind: parameters.cluster_server, "namespace": parameters.namespace}


def _sync_policy(parameters: DeployParameters) -> dict[str, Any]:
    policy: dict[str, Any] = {"syncOptions": ["CreateNamespace=true"]}
    if parameters.sync_strategy == "auto":
        policy["automated"] = {"prune": parameters.prune, "selfHeal": True}
    return policy


def _objects(values: object) -> list[dict[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _essence(source: dict[str, Any]) -> tuple[object, ...]:
    helm = source.get("helm")
    values = helm.get("parameters") if isinstance(helm, dict) else None
    pairs = {str(each.get("name")): each.get("value") for each in _objects(values)}
    return (*(source.get(field) or "" for field in ("repoURL", "path", "chart", "targetRevision")), pairs)
