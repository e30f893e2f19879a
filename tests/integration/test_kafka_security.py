"""Logins, TLS and access control, on a real broker that has all three."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.brokers import need_embedded_kafka, running
from tests.support.fleet import ROOT, Fleet, WorkerProcess, assert_all_work_is_done, fleet, probe
from tests.support.secure_kafka import Acl, SecureKafka
from worker_agents.devkit.ports import free_ports

pytestmark = pytest.mark.integration

USER, PASSWORD = "worker", "correct horse battery staple"
PERMISSIONS = (
    "Read topic tickets",
    "DescribeConfigs topic tickets",
    "Read topic state",
    "Write topic state",
    "DescribeConfigs topic state",
    "Write topic results",
    "DescribeConfigs topic results",
    "Write topic dlq",
    "DescribeConfigs topic dlq",
    "Read group",
    "Write transactional-id",
)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    need_embedded_kafka()
    with running(SecureKafka(tmp_path_factory.mktemp("certificates"))) as broker:
        asyncio.run(broker.set_password(USER, PASSWORD))
        yield broker


@pytest.fixture
async def ships(secure: SecureKafka, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(secure.bootstrap_servers, tmp_path, partitions=2, **secure.sasl(USER, PASSWORD)) as ships:
        yield ships


def acl(permission: str, ships: Fleet) -> Acl:
    operation, resource, *kind = permission.split()
    match resource:
        case "group":
            return Acl(operation, resource, ships.group)
        case "transactional-id":
            return Acl(operation, resource, f"{ships.group}-{ships.topics['tickets']}-", "prefixed")
        case _:
            return Acl(operation, resource, ships.topics[kind[0]])


def minimal(ships: Fleet) -> list[Acl]:
    return [acl(permission, ships) for permission in PERMISSIONS]


@dataclass
class Ended:
    code: int
    out: str
    err: str


async def command(ships: Fleet, environment: dict[str, str], *arguments: str, stdin: bytes = b"") -> Ended:
    """``worker-agents``, ended by itself long before it would have given up reaching Kafka."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    settings = {
        "KAFKA_CONSUMER_GROUP_ID": ships.group,
        **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
        "HTTP_PORT": "0",
        "HTTP_HOST": "127.0.0.1",
        "LOG_FORMAT": "json",
        "KAFKA_CONNECT_TIMEOUT_SECONDS": "600",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_agents.cli", *arguments),
        cwd=ROOT,
        env=inherited | settings | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    ended = Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    assert PASSWORD not in ended.out + ended.err
    return ended


def sentence(ended: Ended) -> str:
    """The one thing that is told on standard error besides the log."""
    (line,) = [line for line in ended.err.splitlines() if not line.startswith("{")]
    return line


# --- what a worker needs ---------------------------------------------------------------------------------------------


async def test_the_minimal_permissions_are_enough_for_all_work(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, minimal(ships))
    await assert_all_work_is_done(ships)


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_a_missing_permission_is_named_at_the_start(ships: Fleet, secure: SecureKafka, permission: str) -> None:
    missing = acl(permission, ships)
    await secure.allow(USER, [granted for granted in minimal(ships) if granted != missing])
    ended = await command(ships, dict(ships.env), "run")
    assert ended.code == 2
    resource = "transactional ids that begin with" if missing.resource == "transactional-id" else missing.resource
    assert f"{missing.operation} on {resource} {missing.name!r}" in sentence(ended)
    innocent = {granted.name for granted in minimal(ships)} - {missing.name}
    assert not [name for name in innocent if repr(name) in sentence(ended)]


async def test_without_any_permission_all_are_named_at_once(ships: Fleet) -> None:
    ended = await command(ships, dict(ships.env), "run")
    assert ended.code == 2
    assert all(granted.name in sentence(ended) for granted in minimal(ships))


async def doctor(ships: Fleet, environment: dict[str, str]) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Its exit code, and by check what it finds at Kafka."""
    nothing_else = {f"{name}_ENABLED": "false" for name in ("CODE_FORGE", "OPA", "TRIVY")}
    off = {**nothing_else, "ALLOWED_TEST_COMMANDS": "[]", "KAFKA_CONNECT_TIMEOUT_SECONDS": "60"}
    ended = await command(ships, {**environment, **off}, "doctor", "--json")
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(ended.out)["findings"]:
        found.setdefault(each["check"], []).append((each["level"], each["what"]))
    return ended.code, found


async def test_doctor_may_look_with_what_a_worker_needs(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, minimal(ships))
    code, found = await doctor(ships, dict(ships.env))

    assert [said for said in found.items() if "error" in dict(said[1])] == []
    assert code == 0
    levels = {check: {level for level, _ in said} for check, said in found.items() if check.startswith("kafka.")}
    assert levels == {
        "kafka.connection": {"ok"},
        "kafka.brokers": {"ok"},
        "kafka.transactions": {"ok"},
        "kafka.session": {"skipped"},
        "kafka.permissions": {"ok"},
        "kafka.topics": {"ok"},
        "kafka.durability": {"warning"},
        "kafka.retention": {"ok"},
        "kafka.group": {"ok"},
    }


async def test_doctor_names_each_permission_that_is_missing(ships: Fleet) -> None:
    code, found = await doctor(ships, dict(ships.env))

    assert code == 1
    told = [what for level, what in found["kafka.permissions"] if level == "error"]
    assert len(told) == len(PERMISSIONS)
    assert all(any(repr(granted.name) in what for what in told) for granted in minimal(ships))
    assert {level for level, _ in found["kafka.topics"]} == {"error"}
    assert {level for level, _ in found["kafka.group"]} == {"skipped"}


@pytest.mark.parametrize("kind", ["password", "authority"])
async def test_doctor_says_why_a_broker_turns_it_away(ships: Fleet, secure: SecureKafka, kind: str) -> None:
    settings, words = {
        "password": (wrong_password(secure), "refused the login of user 'worker'"),
        "authority": (wrong_authority(secure), "certificate of the Kafka broker"),
    }[kind]
    code, found = await doctor(ships, {**ships.env, **settings})

    assert code == 1
    ((level, what),) = found["kafka.connection"]
    assert (level, words in what) == ("error", True)


async def test_missing_topics_are_created_where_that_is_allowed(secure: SecureKafka, tmp_path: Path) -> None:
    ships = TopiclessFleet(secure.bootstrap_servers, tmp_path, 12, secure.sasl(USER, PASSWORD))
    create = [Acl("Create", "topic", topic) for topic in ships.topics.values()]
    await secure.allow(USER, [*minimal(ships), *create])
    try:
        await assert_all_work_is_done(ships)
    finally:
        await ships.close()


async def test_a_topic_that_must_not_be_created_is_named(secure: SecureKafka, tmp_path: Path) -> None:
    ships = TopiclessFleet(secure.bootstrap_servers, tmp_path, 12, secure.sasl(USER, PASSWORD))
    await secure.allow(USER, minimal(ships))
    ended = await command(ships, dict(ships.env), "run")
    assert ended.code == 2
    assert f"create the missing topic {ships.topics['tickets']!r}: grant Create on it" in sentence(ended)

    ended = await command(ships, {**ships.env, "KAFKA_CREATE_TOPICS": "false"}, "run")
    assert ended.code == 2
    assert "missing topics" in sentence(ended)


class TopiclessFleet(Fleet):
    """Its workers create the topics, with their own numbers of partitions."""

    @property
    def counts(self) -> dict[str, int]:
        return {"tickets": 12, "results": 6, "dlq": 3, "state": 12}


async def test_a_certificate_is_a_login_too(secure: SecureKafka, tmp_path: Path) -> None:
    settings = secure.mtls(secure.certificates.client("certified"))
    async with fleet(secure.bootstrap_servers, tmp_path, partitions=2, **settings) as ships:
        await secure.allow("certified", minimal(ships))
        await assert_all_work_is_done(ships)


# --- refusals at the start -------------------------------------------------------------------------------------------


def wrong_password(secure: SecureKafka) -> dict[str, str]:
    return secure.sasl(USER, "wrong")


def unknown_user(secure: SecureKafka) -> dict[str, str]:
    return secure.sasl("nobody", PASSWORD)


def mechanism_not_enabled(secure: SecureKafka) -> dict[str, str]:
    return {**secure.sasl(USER, PASSWORD), "KAFKA_SASL_MECHANISM": "PLAIN"}


def wrong_authority(secure: SecureKafka) -> dict[str, str]:
    return {**secure.sasl(USER, PASSWORD), "KAFKA_SSL_CA_LOCATION": str(secure.certificates.stranger)}


def wrong_host_name(secure: SecureKafka) -> dict[str, str]:
    servers = secure.sasl_servers.replace("127.0.0.1", "localhost")
    return {**secure.sasl(USER, PASSWORD), "KAFKA_BOOTSTRAP_SERVERS": servers}


def no_certificate(secure: SecureKafka) -> dict[str, str]:
    return secure.mtls({})


def expired_certificate(secure: SecureKafka) -> dict[str, str]:
    return secure.mtls(secure.certificates.expired_client("late"))


def foreign_certificate(secure: SecureKafka) -> dict[str, str]:
    return secure.mtls(secure.certificates.foreign_client("stranger"))


def locked_key(secure: SecureKafka) -> dict[str, str]:
    return secure.mtls(secure.certificates.locked_client("locked"))


def absent_authority(secure: SecureKafka) -> dict[str, str]:
    return {**secure.sasl(USER, PASSWORD), "KAFKA_SSL_CA_LOCATION": "/nowhere/ca.pem"}


def plaintext_to_tls(secure: SecureKafka) -> dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": secure.sasl_servers}


def plaintext_to_mtls(secure: SecureKafka) -> dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": secure.mtls_servers}


def tls_to_plaintext(secure: SecureKafka) -> dict[str, str]:
    return {**secure.mtls({}), "KAFKA_BOOTSTRAP_SERVERS": secure.bootstrap_servers}


def login_left_out(secure: SecureKafka) -> dict[str, str]:
    return {**secure.mtls({}), "KAFKA_BOOTSTRAP_SERVERS": secure.sasl_servers}


def login_where_there_is_none(secure: SecureKafka) -> dict[str, str]:
    certificate = secure.certificates.client("login")
    return {**secure.sasl(USER, PASSWORD), **certificate, "KAFKA_BOOTSTRAP_SERVERS": secure.mtls_servers}


REFUSALS: dict[Callable[[SecureKafka], dict[str, str]], str] = {
    wrong_password: "refused the login of user 'worker': .*invalid credentials.*KAFKA_SASL_PASSWORD",
    unknown_user: "refused the login of user 'nobody': .*invalid credentials.*KAFKA_SASL_USERNAME",
    mechanism_not_enabled: "has no login by PLAIN; check KAFKA_SASL_MECHANISM",
    wrong_authority: "certificate .* is not accepted: .*local issuer.*KAFKA_SSL_CA_LOCATION",
    wrong_host_name: "certificate .* is not accepted: .*not valid for 'localhost'.*KAFKA_BOOTSTRAP_SERVERS",
    no_certificate: "refused the TLS handshake: .*certificate.*KAFKA_SSL_CERTIFICATE_LOCATION",
    expired_certificate: "refused the TLS handshake: .*certificate.*KAFKA_SSL_CERTIFICATE_LOCATION",
    foreign_certificate: "refused the TLS handshake: .*certificate.*KAFKA_SSL_CERTIFICATE_LOCATION",
    locked_key: "KAFKA_SSL_CERTIFICATE_LOCATION: .*locked.key cannot be used",
    absent_authority: "KAFKA_SSL_CA_LOCATION: /nowhere/ca.pem cannot be used: No such file",
    plaintext_to_tls: "speaks TLS, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
    plaintext_to_mtls: "speaks TLS, but KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
    tls_to_plaintext: "does not speak TLS, but KAFKA_SECURITY_PROTOCOL is SSL",
    login_left_out: r"wants a login \(SCRAM-SHA-512\), but KAFKA_SECURITY_PROTOCOL is SSL",
    login_where_there_is_none: "takes no logins at this port; check KAFKA_SECURITY_PROTOCOL",
}


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda settings: settings.__name__)
async def test_a_refused_worker_says_once_why_and_ends(
    ships: Fleet, secure: SecureKafka, refused: Callable[[SecureKafka], dict[str, str]]
) -> None:
    ended = await command(ships, refused(secure), "run")
    assert ended.code == 2
    assert re.search(REFUSALS[refused], ended.err, re.DOTALL), ended.err
    assert len([line for line in ended.err.splitlines() if '"error"' in line or "worker-agents: " in line]) <= 2


async def test_a_broker_that_is_down_beside_one_that_refuses_changes_nothing(ships: Fleet, secure: SecureKafka) -> None:
    settings = wrong_password(secure)
    settings["KAFKA_BOOTSTRAP_SERVERS"] += ",127.0.0.1:1"
    ended = await command(ships, settings, "run")
    assert ended.code == 2
    assert "refused the login" in sentence(ended)


# --- commands --------------------------------------------------------------------------------------------------------


async def test_commands_use_the_same_settings(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, [*minimal(ships), acl("Write topic tickets", ships), acl("Read topic results", ships)])
    settings = dict(ships.env)
    assert (await command(ships, settings, "topics", "describe")).code == 0
    ticket = json.dumps({"ticket_id": "by-hand", "task_type": "PROBE", "parameters": {}}).encode()
    assert (await command(ships, settings, "submit", "-", stdin=ticket)).code == 0
    ships.worker()
    await ships.results(1)
    shown = await command(ships, settings, "results", "--json")
    assert "by-hand" in shown.out


async def test_a_command_says_what_is_forbidden(ships: Fleet, secure: SecureKafka) -> None:
    settings = dict(ships.env)
    hidden = await command(ships, settings, "results")
    assert hidden.code == 4
    assert "that this client may describe" in sentence(hidden)
    described = await command(ships, settings, "topics", "describe")
    assert described.code == 2
    assert "does not allow this client Describe on" in sentence(described)

    await secure.allow(USER, [acl(f"Describe topic {kind}", ships) for kind in ships.topics])
    described = await command(ships, settings, "topics", "describe")
    assert described.code == 2
    assert "does not allow this client DescribeConfigs on" in sentence(described)
    ticket = json.dumps({"ticket_id": "by-hand", "task_type": "PROBE", "parameters": {}}).encode()
    sent = await command(ships, settings, "submit", "-", stdin=ticket)
    assert sent.code == 2
    assert ships.topics["tickets"] in sentence(sent)


async def test_a_command_with_a_wrong_password_says_so(ships: Fleet, secure: SecureKafka) -> None:
    ended = await command(ships, wrong_password(secure), "results")
    assert (ended.code, ended.out) == (2, "")
    assert "refused the login of user 'worker'" in sentence(ended)


# --- while a worker runs ---------------------------------------------------------------------------------------------


async def test_tickets_that_are_forbidden_meanwhile_are_read_when_they_are_allowed_again(
    ships: Fleet, secure: SecureKafka
) -> None:
    await secure.allow(USER, minimal(ships))
    worker = ships.worker()
    await worker.says("partition_opened", 2)
    taken = acl("Read topic tickets", ships)
    await secure.forbid(USER, [taken])
    first, *_ = await worker.says("kafka_trouble", 2, what="polling")
    assert taken.name in first["error"]
    assert len(worker.text) < 60, ships.tails(60)

    await secure.allow(USER, [taken])
    await ships.submit([probe("later")])
    assert await ships.results(1), ships.tails()
    assert worker.process.poll() is None


async def test_dead_letters_that_a_worker_may_not_read_are_a_sentence_for_its_operator(
    ships: Fleet, secure: SecureKafka
) -> None:
    (port,), token = free_ports(1), "an-admin-token-for-tests"
    await secure.allow(USER, minimal(ships))
    worker = ships.worker(HTTP_PORT=str(port), ADMIN_TOKEN=token)
    await worker.says("partition_opened", 2)
    await ships.submit([b"no ticket at all"])
    (letter,) = await ships.read("dlq", bool, 30)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
        looked = await http.get("/api/v1/dead-letters")
        replayed = await http.post("/api/v1/dead-letters/replay", json={"letters": [f"0-{letter.offset}"]})
        assert (looked.status_code, replayed.status_code) == (502, 502), (looked.text, replayed.text)
        assert "does not allow" in looked.json()["detail"]
        assert (await http.get("/ready")).status_code == 200


async def test_a_worker_whose_group_is_forbidden_hands_over_and_ends(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, minimal(ships))
    worker = ships.worker()
    await worker.says("partition_opened", 2)
    await secure.forbid(USER, [acl("Read group", ships)])
    assert await worker.ended() != 0
    assert worker.events("drain_ended")
    assert f"does not allow this client Read on group {ships.group!r}" in worker.text[-1]


async def test_a_result_that_is_forbidden_waits_until_it_is_allowed(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, minimal(ships))
    worker = ships.worker()
    await worker.says("partition_opened", 2)
    taken = [acl("Write topic results", ships)]
    await secure.forbid(USER, taken)
    await ships.submit([probe("later")])
    (failure,) = await worker.says("ledger_failed")
    assert f"TopicAuthorizationFailedError: {ships.topics['results']}" in failure["error"]
    await worker.says("partition_not_opened", 2)
    assert len(worker.text) < 40, ships.tails()

    await secure.allow(USER, taken)
    (result,) = await ships.results(1)
    assert result["status"] == "COMPLETED"


async def test_a_login_that_comes_back_lets_the_work_go_on(ships: Fleet, secure: SecureKafka) -> None:
    await secure.allow(USER, minimal(ships))
    worker = ships.worker()
    await worker.says("partition_opened", 2)
    await secure.remove_user(USER)
    try:
        before = failed_logins(secure)
        await secure.restart()
        await told(worker, "SaslAuthenticationFailed")
        # One line for each kind of trouble in ten seconds, and a few attempts in each second: thousands would be a loop.
        assert len(worker.text) < 60, ships.tails(60)
        assert 0 < failed_logins(secure) - before < 300
    finally:
        await secure.set_password(USER, PASSWORD)
    await ships.submit([probe("later")])
    (result,) = await ships.results(1)
    assert result["status"] == "COMPLETED"
    assert worker.process.poll() is None


async def told(worker: WorkerProcess, words: str) -> None:
    """Wait until the worker's log has these words, also in what a library says."""
    async with asyncio.timeout(60):
        while not any(words in line for line in worker.text):
            await asyncio.to_thread(time.sleep, 0.05)


def failed_logins(secure: SecureKafka) -> int:
    return secure.log_path.read_text(errors="replace").count("Failed authentication with")
