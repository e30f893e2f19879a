"""A real Kubernetes control plane on loopback, whose nodes are played by kwok: pods are scheduled and become ready, and nothing runs in them.

API server, controllers and scheduler are Kubernetes' own, which ``tools/install-cluster`` builds. RBAC and Pod Security admission are on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import trustme
import yaml

from tests.support.kubernetes_api import KubernetesApi, Object
from tests.support.tools import tool
from tests.support.waiting import until
from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.ports import free_ports

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
ZONES = ("zone-a", "zone-b")
"""There is one node in each."""


class Cluster:
    """Its processes die with this one. Start it in the main thread."""

    def __init__(self, folder: Path) -> None:
        """``folder`` takes certificates, logs and etcd's data."""
        self._folder = folder
        self.url = ""
        self.kubeconfig = folder / "kubeconfig.yaml"
        self.authority = folder / "authority.pem"
        self._processes: dict[str, ChildProcess] = {}

    async def start(self) -> None:
        """Return once the API server answers and the nodes are ready."""
        api, etcd, peer = free_ports(3)
        self.url = f"https://{_HOST}:{api}"
        self._write_credentials()
        as_administrator = f"--kubeconfig={self.kubeconfig}"
        try:
            self._run("etcd", *_etcd(self._folder, etcd, peer))
            self._run("kube-apiserver", *_api_server(self._folder, api, etcd))
            await self._until_ready()
            self._run("kube-controller-manager", as_administrator, *_controllers(self._folder))
            self._run("kube-scheduler", as_administrator, *_ALONE)
            self._run("kwok", as_administrator, *_NODES)
            self._add_nodes()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all: nobody will read this data again, so no orderly shutdown is worth waiting for."""
        while self._processes:
            _name, process = self._processes.popitem()
            process.kill()

    def api(self, token: str = "") -> KubernetesApi:
        """The API as the owner of a token sees it; without one, as the administrator does."""
        certificate = None if token else self._folder / "administrator.pem"
        return KubernetesApi(self.url, authority=self.authority, certificate=certificate, token=token)

    def token(self, namespace: str, account: str) -> str:
        """A new one of a service account, as pods get it."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        with self.api() as api:
            answer = api.call("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
        token: str = answer.json()["status"]["token"]
        return token

    def freeze_nodes(self) -> None:
        """From now on no pod becomes ready and none ends."""
        self._processes["kwok"].signal(signal.SIGSTOP)

    def thaw_nodes(self) -> None:
        self._processes["kwok"].signal(signal.SIGCONT)

    def _run(self, program: str, *options: str) -> None:
        process = ChildProcess([str(tool(program, installed_by="make cluster")), *options], log=self._log(program))
        self._processes[program] = process
        process.start()

    def _log(self, program: str) -> Path:
        return self._folder / f"{program}.log"

    async def _until_ready(self) -> None:
        with self.api() as api:
            if not await until(lambda: self._ended() or _is_ready(api), _START_SECONDS) or self._ended():
                log = self._log(self._ended() or "kube-apiserver").read_text(errors="replace")
                raise RuntimeError(f"no API server; the end of the log: {log[-2000:]}")

    def _ended(self) -> str | None:
        return next((name for name, process in self._processes.items() if not process.running), None)

    def _add_nodes(self) -> None:
        with self.api() as api:
            for zone in ZONES:
                api.create(_node(zone))
            for zone in ZONES:
                api.wait("/api/v1/nodes", f"node-{zone}", has_condition("Ready"))

    def _write_credentials(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        server = authority.issue_cert(_HOST, common_name="kube-apiserver")
        administrator = authority.issue_cert("a.test", common_name="administrator", organization_name="system:masters")
        for name, leaf in (("server", server), ("administrator", administrator)):
            leaf.private_key_and_cert_chain_pem.write_to_path(str(self._folder / f"{name}.pem"))
        self.kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()))

    def _kubeconfig(self) -> Object:
        certificate = str(self._folder / "administrator.pem")
        server = {"server": self.url, "certificate-authority": str(self.authority)}
        user = {"client-certificate": certificate, "client-key": certificate}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "administrator", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "administrator"}}],
            "current-context": "test",
        }


def has_condition(kind: str) -> Callable[[Object], bool]:
    """Whether an object says of itself that it is ``Ready``, ``Available`` and so on."""
    return lambda one: any(
        (condition["type"], condition["status"]) == (kind, "True")
        for condition in one.get("status", {}).get("conditions") or ()
    )


_ALONE = ("--leader-elect=false", "--secure-port=0")
"""There is one of each, and nobody asks for its metrics."""

_NODES = (
    f"--config={Path(__file__).with_name('kwok.yaml')}",
    "--manage-all-nodes=true",
    "--node-lease-duration-seconds=40",  # without leases the nodes, and all pods, would be taken for dead after 50 s
)


def _etcd(folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://{_HOST}:{port}", f"http://{_HOST}:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def _api_server(folder: Path, port: int, etcd_port: int) -> list[str]:
    server = folder / "server.pem"
    return [
        f"--etcd-servers=http://{_HOST}:{etcd_port}",
        f"--bind-address={_HOST}",
        f"--secure-port={port}",
        f"--tls-cert-file={server}",
        f"--tls-private-key-file={server}",
        f"--client-ca-file={folder / 'authority.pem'}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={server}",
        f"--service-account-signing-key-file={server}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",  # nobody comes through a Service, and its address may not be loopback
    ]


def _controllers(folder: Path) -> list[str]:
    key, authority = folder / "server.pem", folder / "authority.pem"
    return [*_ALONE, f"--service-account-private-key-file={key}", f"--root-ca-file={authority}"]


def _is_ready(api: KubernetesApi) -> bool:
    try:
        return api.call("GET", "/readyz").is_success
    except httpx.TransportError:
        return False


def _node(zone: str) -> Object:
    name = f"node-{zone}"
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
