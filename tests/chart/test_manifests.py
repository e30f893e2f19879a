"""Every manifest is what its API asks for: Kubernetes' own schemas, and for custom resources ours from their documentation."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.support.chart import Manifest

SCHEMAS = Path(__file__).parent / "schemas"
CUSTOM = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.json")}
KUBERNETES = ("1.30", "1.34", "1.37")


def _is_custom(manifest: Manifest) -> bool:
    group, _, _ = manifest["apiVersion"].rpartition("/")
    return "." in group and not group.endswith("k8s.io")


@pytest.mark.parametrize("version", KUBERNETES)
def test_built_in_kinds_fit_the_schemas_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    checked = [kubernetes_validate.validate(one, version, strict=True) for one in manifests if not _is_custom(one)]

    assert set(checked) == {version}


def test_custom_resources_fit_their_documented_schemas(manifests: list[Manifest]) -> None:
    for manifest in filter(_is_custom, manifests):
        jsonschema.validate(manifest, CUSTOM[manifest["kind"]], cls=jsonschema.Draft202012Validator)


def test_all_custom_kinds_are_rendered_by_some_value_set_and_have_a_schema() -> None:
    assert CUSTOM.keys() == {"KafkaTopic", "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
    for schema in CUSTOM.values():
        jsonschema.Draft202012Validator.check_schema(schema)
