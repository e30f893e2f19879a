"""The Helm chart as tests see it: what the real `helm template` makes of values."""

from __future__ import annotations

import base64
import difflib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm-charts" / "worker-agents"
CASES = ROOT / "tests" / "chart" / "cases"
GOLDEN = ROOT / "tests" / "chart" / "golden"
SMALLEST = CASES / "minimal.yaml"

Manifest = dict[str, Any]


class Refused(Exception):
    """helm's message, where it refuses the values."""


def cases() -> list[Path]:
    """The value sets that stand for what operators do."""
    return sorted(CASES.glob("*.yaml"))


class _OnceOnly(yaml.SafeLoader):
    """YAML whose keys are there once, as Flux, Kustomize and server-side apply ask for; Helm itself takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in one mapping: {sorted(keys)} {node.start_mark}"
        return super().construct_mapping(node, deep)


def values_for_helm(values: Path | Mapping[str, Any]) -> tuple[str, str]:
    """What ``--values`` is to name, and helm's standard input."""
    return (str(values), "") if isinstance(values, Path) else ("-", json.dumps(values))


def render_text(
    values: Path | Mapping[str, Any], release: str = "r", *, options: Sequence[str] = (), chart: Path = CHART
) -> str:
    """All manifests as text; ``options`` are helm's own, such as ``--set``. Raises :class:`Refused`."""
    file, given = values_for_helm(values)
    command = [tool("helm"), "template", release, chart, "--namespace", "delivery", *options, "--values", file]
    ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode:
        raise Refused(ended.stderr)
    return ended.stdout


def render(
    values: Path | Mapping[str, Any], release: str = "r", *, options: Sequence[str] = (), chart: Path = CHART
) -> list[Manifest]:
    """All manifests. Raises :class:`Refused`."""
    text = render_text(values, release, options=options, chart=chart)
    return [manifest for manifest in yaml.load_all(text, _OnceOnly) if manifest]


def the(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind, or of several the one that has the release's own name."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    if len(found) > 1:
        own = the(manifests, "Deployment")["metadata"]["name"]
        found = [manifest for manifest in found if manifest["metadata"]["name"] == own]
    [manifest] = found
    return manifest


def worker_of(manifests: list[Manifest]) -> Manifest:
    """The worker's container."""
    containers = the(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    worker: Manifest = containers[0]
    return worker


# --- environment -------------------------------------------------------------------------------------------------


def environment_of(manifests: list[Manifest], elsewhere: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the worker's process would see, as a kubelet puts it together; ``elsewhere`` are values of Secrets that are not the chart's."""
    environment: dict[str, str] = dict(the(manifests, "ConfigMap")["data"])
    for entry in worker_of(manifests)["env"]:
        environment[entry["name"]] = _value(entry, manifests, elsewhere or {}, environment)
    return environment


def _value(entry: Manifest, manifests: list[Manifest], elsewhere: Mapping[str, str], before: Mapping[str, str]) -> str:
    if "value" in entry:
        value: str = entry["value"]
        for name, text in before.items():
            value = value.replace(f"$({name})", text)
        return value
    match entry["valueFrom"]:
        case {"fieldRef": {"fieldPath": path}}:
            return {"status.podIP": "192.0.2.7"}.get(path, path.rpartition(".")[2])
        case {"secretKeyRef": {"name": name, "key": key}}:
            return secret_data(manifests, name).get(key) or elsewhere[entry["name"]]
    raise AssertionError(entry)


def secret_data(manifests: list[Manifest], name: str) -> dict[str, str]:
    """The decoded values of one of the chart's Secrets; empty when it is none of the chart's."""
    for manifest in manifests:
        if manifest["kind"] == "Secret" and manifest["metadata"]["name"] == name:
            return {key: base64.b64decode(value, validate=True).decode() for key, value in manifest["data"].items()}
    return {}


# --- golden files --------------------------------------------------------------------------------------------------


def golden_of(case: Path) -> Path:
    """The smallest case is kept whole, each other one as what it changes in that."""
    return GOLDEN / (case.name if case == SMALLEST else f"{case.stem}.diff")


def golden_text(case: Path) -> str:
    if case == SMALLEST:
        return _without_copies(render_text(case))
    smallest, this = (_without_copies(render_text(values)).splitlines() for values in (SMALLEST, case))
    return "\n".join(_without_places(difflib.unified_diff(smallest, this, n=2, lineterm=""))) + "\n"


def _without_copies(text: str) -> str:
    """Without checksums, and without the alerts and the dashboard, which stand elsewhere already; other tests look at these."""
    dashboard = json.dumps((CHART / "dashboards" / "worker-agents.json").read_text(encoding="utf-8"))
    text = text.replace(_as_helm_writes(dashboard), "(dashboards/worker-agents.json)")
    text = re.sub(r"(kind: PrometheusRule\n(?:.*\n)*?spec:\n)(?:  .*\n|\n)*", r"\1  (rules/worker-agents.yaml)\n", text)
    return re.sub(r"(checksum/\w+): [0-9a-f]{64}", r"\1: (checksum)", text)


def _as_helm_writes(text: str) -> str:
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _without_places(lines: Iterator[str]) -> Iterator[str]:
    """A line that moves is no change."""
    for line in list(lines)[2:]:
        yield "@@" if line.startswith("@@") else line
