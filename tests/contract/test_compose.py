"""compose.yaml: what docker compose itself makes of it, and that its parts fit each other and what they are made for."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.operations import DASHBOARD, ROOT
from tests.support.tools import tool
from worker_agents.devkit.demo.props import POLICY, POLICY_PATH
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.kafka_jars import KAFKA_VERSION
from worker_agents.devkit.ports import free_ports
from worker_agents.settings import Settings, load_settings
from worker_agents.settings.model import FIELDS, variable_of

OURS = ("worker", "code-forge")
OTHERS = ("kafka", "opa", "prometheus", "grafana")

Service = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    """As docker compose understands the file; it refuses what the specification does not know."""
    compose = [tool("docker-compose"), "--file", ROOT / "compose.yaml", "config", "--format=json"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    understood = subprocess.run(compose, env=environment, capture_output=True, text=True, check=False)
    assert (understood.returncode, understood.stderr) == (0, "")
    return dict(json.loads(understood.stdout)["services"])


@pytest.fixture
def settings(services: dict[str, Service]) -> Settings:
    return load_settings(services["worker"]["environment"])


def mounts(service: Service) -> dict[str, str]:
    """Targets of a service's bind mounts and volumes, and what is mounted there."""
    return {each["target"]: each["source"] for each in service.get("volumes", ())}


def laid_out(service: Service, below: str, folder: Path) -> Path:
    """The folder ``below`` of a service, as its bind mounts make it."""
    for target, source in mounts(service).items():
        if target.startswith(f"{below}/"):
            place = folder / Path(target).relative_to(below)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
    return folder


def test_it_has_all_that_a_worker_needs_and_operators_look_at(services: dict[str, Service]) -> None:
    assert services.keys() == {*OURS, *OTHERS}


def test_what_is_mounted_exists(services: dict[str, Service]) -> None:
    binds = [each for service in services.values() for each in service.get("volumes", ()) if each["type"] == "bind"]

    assert binds
    assert [each["source"] for each in binds if not Path(each["source"]).exists()] == []
    assert all(each["read_only"] for each in binds)


@pytest.mark.parametrize("name", OTHERS)
def test_images_of_others_are_pinned(services: dict[str, Service], name: str) -> None:
    assert re.fullmatch(r"docker\.io/[a-z/]+:v?\d+\.\d+\.\d+", services[name]["image"])


def test_kafka_and_opa_are_those_that_the_tests_use(services: dict[str, Service]) -> None:
    opa = re.search(r"go_tool opa \S+ v(\S+)", (ROOT / "tools" / "install-tools").read_text(encoding="utf-8"))
    assert opa is not None

    assert services["kafka"]["image"].endswith(f":{KAFKA_VERSION}")
    assert services["opa"]["image"].endswith(f":{opa[1]}")


def test_ports_are_open_to_this_machine_only(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]

    assert ports
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


# --- the worker ------------------------------------------------------------------------------------------------------


def test_the_workers_environment_is_settings_and_nothing_is_odd_about_them(
    services: dict[str, Service], settings: Settings
) -> None:
    assert services["worker"]["environment"].keys() <= {variable_of(name) for name in FIELDS}
    assert settings.warnings == ()


@pytest.mark.parametrize("name", OURS)
def test_what_we_make_runs_hardened(services: dict[str, Service], name: str) -> None:
    service = services[name]

    assert service["read_only"]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert "user" not in service
    assert not service.get("privileged")


def test_a_worker_can_write_where_its_settings_say(services: dict[str, Service], settings: Settings) -> None:
    written = {settings.test_workspace_root, settings.scratch_directory, settings.trivy_cache_dir}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert {Path(target) for target in mounts(services["worker"])} == written
    assert services["worker"]["tmpfs"] == ["/tmp:size=1g"]
    # A named volume gets owner and mode from the image's own directory.
    assert {str(path) for path in written} == set(re.findall(r"/var/lib/worker-agents/\w+", dockerfile))


def test_a_worker_has_the_time_to_drain(services: dict[str, Service], settings: Settings) -> None:
    assert settings.termination_grace_period_seconds == 75
    assert services["worker"]["stop_grace_period"] == "1m15s"
    assert settings.drain_timeout_seconds + settings.kill_grace_seconds + 30 < 75


def test_a_worker_finds_the_others(services: dict[str, Service], settings: Settings) -> None:
    kafka = services["kafka"]["environment"]
    code_forge = dict(zip(services["code-forge"]["command"][::2], services["code-forge"]["command"][1::2], strict=True))

    assert f"SERVICES://{settings.kafka_bootstrap_servers[0]}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert settings.code_forge_url == f"http://code-forge:{code_forge['--port']}"
    assert code_forge["--host"] == "0.0.0.0"
    assert settings.opa_url == "http://opa:8181"
    assert "--addr=0.0.0.0:8181" in services["opa"]["command"]


# --- the others ------------------------------------------------------------------------------------------------------


def test_opa_has_the_policy_that_the_sample_ticket_asks_for(services: dict[str, Service], tmp_path: Path) -> None:
    policies = laid_out(services["opa"], "/policies", tmp_path)
    asked = f"data.{POLICY_PATH}.allow"
    program = [tool("opa"), "eval", "--strict", "--format=raw", "--data", policies, "--stdin-input", asked]

    def decision(document: dict[str, str]) -> str:
        said = subprocess.run(program, input=json.dumps(document), capture_output=True, text=True, check=True)
        return said.stdout.strip()

    assert services["opa"]["command"][-1] == "/policies"
    assert (policies / POLICY.name).exists()
    assert decision({"service": "shop", "image": "registry.example/shop:1.4.2", "approved_by": "alex"}) == "true"
    assert decision({"service": "shop", "image": "registry.example/shop:latest"}) == "false"


def test_prometheus_scrapes_workers_as_alerts_and_dashboard_know_them(
    services: dict[str, Service], tmp_path: Path
) -> None:
    folder = laid_out(services["prometheus"], "/etc/prometheus", tmp_path)

    said = subprocess.run(
        [tool("promtool"), "check", "config", folder / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    (job,) = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]

    assert said.returncode == 0, said.stdout + said.stderr
    assert re.search(r"SUCCESS: [1-9]\d* rules found", said.stdout)
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["worker"], FIELDS["http_port"].default)
    assert {each["target_label"] for each in job["relabel_configs"]} == {"pod", "namespace"}


def test_grafana_has_the_dashboard_and_a_data_source_for_it(services: dict[str, Service], tmp_path: Path) -> None:
    grafana = laid_out(services["grafana"], "/etc/grafana", tmp_path)
    (source,) = _only_document(grafana / "provisioning" / "datasources")["datasources"]
    (provider,) = _only_document(grafana / "provisioning" / "dashboards")["providers"]
    folder = grafana / Path(provider["options"]["path"]).relative_to("/etc/grafana")
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert (folder / DASHBOARD.name).read_bytes() == DASHBOARD.read_bytes()
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"


async def test_kafka_starts_with_what_its_image_makes_of_the_environment(services: dict[str, Service]) -> None:
    """It names properties by variables: KAFKA_NODE_ID is node.id. Only addresses are changed: here is one machine."""
    ours = {"9092": 0, "19092": 1, "9093": 2}
    ports = free_ports(len(ours))
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): re.sub(
            r":(\d+)\b", lambda found: f":{ports[ours[found[1]]]}", value.replace("kafka:", "localhost:")
        )
        for name, value in services["kafka"]["environment"].items()
        if name != "KAFKA_LOG_DIRS"
    }

    async with EmbeddedKafka(port=ports[0], properties=properties) as broker:
        for port in ports[:2]:
            admin = AIOKafkaAdminClient(bootstrap_servers=f"localhost:{port}")
            await admin.start()
            answer = await admin.create_topics([NewTopic(f"by-{port}", 1, 1)])
            await admin.close()
            assert [error for _, error, *_ in answer.topic_errors] == [0], answer
        assert broker.bootstrap_servers.endswith(f":{ports[0]}")


def _only_document(folder: Path) -> dict[str, Any]:
    (path,) = folder.iterdir()
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
