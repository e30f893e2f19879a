"""A real API server takes each manifest that the chart makes of each value set, and knows each of its fields."""

from pathlib import Path

import pytest

from tests.cluster.surroundings import provide
from tests.support.chart import render, the
from tests.support.kubernetes_api import KubernetesApi

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("custom_kinds")]
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def test_every_manifest_is_taken_without_a_warning(api: KubernetesApi, namespace: str, case: Path) -> None:
    manifests = render(case)
    provide(api, namespace, manifests)

    for manifest in manifests:
        # A pod is taken only where its service account is.
        answer = api.post(manifest, namespace, **({} if manifest["kind"] == "ServiceAccount" else STRICT))
        assert (answer.status_code, answer.headers.get("warning")) == (201, None), answer.text


def test_a_field_that_kubernetes_does_not_know_is_refused(api: KubernetesApi, namespace: str) -> None:
    manifest = the(render({}), "Service")
    manifest["spec"]["sessionAfinity"] = "None"

    answer = api.post(manifest, namespace, **STRICT)

    assert 'unknown field \\"spec.sessionAfinity\\"' in answer.text
