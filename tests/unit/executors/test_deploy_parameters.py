"""What DEPLOY tickets may ask for, as producers send it, and the Application that comes of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.devkit.executor_kit import ticket_for
from worker_agents.executors.deploy import DeployExecutor
from worker_agents.executors.deploy_parameters import (
    Deployment,
    DeployParameters,
    default_name,
    deployment_of,
    helm_image,
)
from worker_agents.model.errors import InvalidParameters

REPOSITORY = {"repo_url": "https://git.example/r"}


def read(**parameters: Any) -> DeployParameters:
    return DeployExecutor(emit=lambda _: None).parameters(ticket_for("DEPLOY", parameters))


def deployment(**parameters: Any) -> Deployment:
    ticket = ticket_for("DEPLOY", REPOSITORY | parameters)
    return deployment_of(ticket, DeployExecutor(emit=lambda _: None).parameters(ticket))


def test_defaults_are_those_of_the_contracts() -> None:
    parameters = read()

    assert parameters.model_dump(exclude={"timeout_seconds", "prune", "chart"}) == {
        "provider": "argocd",
        "namespace": "default",
        "deployment_name": None,
        "image": "latest",
        "replicas": 1,
        "sync_strategy": "auto",
        "poll_interval": 5.0,
        "argocd_namespace": None,
        "labels": {},
        "annotations": {},
        "project": "default",
        "repo_url": None,
        "chart_path": ".",
        "revision": "HEAD",
        "cluster_server": "https://kubernetes.default.svc",
    }
    assert DeployExecutor(emit=lambda _: None).time_limit(ticket_for("DEPLOY")) == 600


def test_everything_as_text_as_over_avro() -> None:
    parameters = read(
        replicas="3",
        prune="false",
        poll_interval="2.5",
        timeout_seconds="60",
        labels='{"team": "a", "tier": 1}',
        annotations="",
        provider="ArgoCD",
        sync_strategy="Manual",
        deployment_name=" ",
    )

    assert (parameters.replicas, parameters.prune, parameters.poll_interval) == (3, False, 2.5)
    assert parameters.labels == {"team": "a", "tier": "1"}
    assert parameters.annotations == {}
    assert (parameters.provider, parameters.sync_strategy, parameters.deployment_name) == ("argocd", "manual", None)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"provider": "flux"}, "provider: .*'flux' is not available: this worker deploys through Argo CD only"),
        ({"namespace": "Shop"}, "namespace: .*DNS-1123 label"),
        ({"namespace": "a" * 64}, "namespace: .*DNS-1123 label"),
        ({"namespace": "shop\n"}, None),
        ({"namespace": "sh\nop"}, "namespace: .*DNS-1123 label"),
        ({"argocd_namespace": "-x"}, "argocd_namespace: .*DNS-1123 label"),
        ({"deployment_name": "My App"}, "deployment_name: .*DNS-1123 subdomain"),
        ({"deployment_name": "../../x"}, "deployment_name: .*DNS-1123 subdomain"),
        ({"deployment_name": "a." * 130}, "deployment_name: .*DNS-1123 subdomain"),
        ({"project": "a/b"}, "project: .*DNS-1123 subdomain"),
        ({"replicas": -1}, "replicas: .*greater than or equal to 0"),
        ({"replicas": "many"}, "replicas: .*valid integer"),
        ({"replicas": 2.5}, "replicas: .*integer"),
        ({"sync_strategy": "sometimes"}, "sync_strategy: .*'auto' or 'manual'"),
        ({"poll_interval": 0}, "poll_interval: "),
        ({"poll_interval": "nan"}, "poll_interval: "),
        ({"image": "App:1 2"}, "image: .*image reference"),
        ({"image": "app@sha256:short"}, "image: .*image reference"),
        ({"labels": ["a"]}, "labels: .*must be a map"),
        ({"labels": "a=b"}, "labels: .*must be a map"),
        ({"labels": {"a b": "c"}}, "labels: .*is no Kubernetes key"),
        ({"labels": {"Bad_Prefix/x": "c"}}, "labels: .*is no Kubernetes key"),
        ({"labels": {"a": "two words"}}, "labels: .*the value of 'a'"),
        ({"annotations": {"/a": "b"}}, "annotations: .*is no Kubernetes key"),
        ({"repo_url": "https://user:secret@git.example/r"}, "repo_url: .*must not carry a password"),
        ({"repo_url": "https://user:secret@git\u2100.example/r"}, "repo_url: .*is not an address$"),
        ({"repo_url": "https://user:secret@[git.example/r"}, "repo_url: .*is not an address$"),
        ({"revision": "a b"}, "revision: .*spaces"),
        ({"chart_path": "a\x00b"}, "chart_path: .*control characters"),
    ],
)
def test_what_cannot_be_is_named(parameters: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        read(**parameters)
        return
    with pytest.raises(InvalidParameters, match=sentence) as raised:
        read(**parameters)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("nginx", "nginx", "latest"),
        ("nginx:1.10", "nginx", "1.10"),
        ("registry:5000/team/app", "registry:5000/team/app", "latest"),
        ("registry:5000/team/app:v1", "registry:5000/team/app", "v1"),
        (f"ghcr.io/a/b@sha256:{'0' * 64}", "ghcr.io/a/b@sha256", "0" * 64),
        (f"ghcr.io/a/b:1@sha256:{'a' * 64}", "ghcr.io/a/b:1@sha256", "a" * 64),
    ],
)
def test_an_image_is_split_so_that_a_chart_puts_it_together_again(image: str, repository: str, tag: str) -> None:
    read(image=image)
    values = {each["name"]: each["value"] for each in helm_image(image)}

    assert values == {"image.repository": repository, "image.tag": tag}
    assert f"{repository}:{tag}" in (image, f"{image}:latest")
    assert all(each["forceString"] for each in helm_image(image))


def test_no_image_leaves_the_charts_own() -> None:
    document = deployment(replicas=2).document

    assert document["spec"]["source"]["helm"] == {"parameters": [{"name": "replicaCount", "value": "2"}]}


def test_the_application_never_lives_in_the_target_namespace() -> None:
    assert "namespace" not in deployment(namespace="shop").document["metadata"]
    elsewhere = deployment(namespace="shop", argocd_namespace="apps")
    assert elsewhere.document["metadata"]["namespace"] == "apps"
    assert elsewhere.key.query == {"project": "default", "appNamespace": "apps"}


def test_manual_chart_and_cluster_by_name() -> None:
    spec = deployment(sync_strategy="manual", chart="redis", revision="1.2.3", cluster_server="in-cluster").document[
        "spec"
    ]

    assert spec["syncPolicy"] == {"syncOptions": ["CreateNamespace=true"]}
    assert spec["source"]["chart"] == "redis"
    assert "path" not in spec["source"]
    assert spec["destination"] == {"name": "in-cluster", "namespace": "default"}


@pytest.mark.parametrize(
    ("ticket_id", "name"),
    [
        ("3f2a8c10-aaaa", "deploy-3f2a8c10"),
        ("Ticket_ABC", "deploy-ticket-a"),
        ("--------", "deploy-ticket"),
        ("é", "deploy-ticket"),
    ],
)
def test_default_names(ticket_id: str, name: str) -> None:
    assert default_name(ticket_id) == name


@given(st.text(min_size=1, max_size=30))
def test_every_default_name_is_one_that_kubernetes_takes(ticket_id: str) -> None:
    assert DeployParameters(deployment_name=default_name(ticket_id)).deployment_name == default_name(ticket_id)


def test_a_source_is_the_same_whatever_argo_cd_adds_to_it() -> None:
    wanted = deployment(image="app:1")
    stored = {**wanted.source, "helm": {**wanted.source["helm"], "releaseName": "x"}, "directory": None}

    assert wanted.is_source(stored)
    assert wanted.is_source({})
    assert not wanted.is_source(deployment(image="app:2").source)
    assert not wanted.is_source({**stored, "targetRevision": "v2"})
    assert not wanted.is_source({**stored, "helm": None})
    assert not wanted.is_source({**stored, "helm": {"parameters": 7}})
    assert not wanted.is_source({**stored, "helm": {"parameters": [{"name": ["image.tag"]}, 7]}})
