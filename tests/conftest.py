"""Fixtures shared by all tests: one Kafka broker a session, and the switch that lets nothing be skipped."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pytest

from tests.support.brokers import need_embedded_kafka, running

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


class KafkaServer(Protocol):
    """What tests may ask of the broker they share; a test that stops its broker starts one of its own."""

    @property
    def bootstrap_servers(self) -> str: ...


@dataclass(frozen=True)
class ExternalKafka:
    """A broker that the developer provides with TEST_KAFKA_BOOTSTRAP_SERVERS."""

    bootstrap_servers: str


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """One real broker for the whole session; a test keeps apart from others by names of its own for topics and groups."""
    servers = os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS")
    if servers:
        yield ExternalKafka(servers)
        return
    need_embedded_kafka()
    from worker_agents.devkit.embedded_kafka import EmbeddedKafka

    with running(EmbeddedKafka()) as broker:
        yield broker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI_NO_SKIP set, a skipped test is a failed test."""
    del item
    return forbid_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """With CI_NO_SKIP set, a skipped test module is a failed one."""
    del collector
    return forbid_skip((yield))


def forbid_skip(report: Report) -> Report:
    expected_to_fail = hasattr(report, "wasxfail")
    if report.skipped and not expected_to_fail and os.environ.get("CI_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"CI_NO_SKIP is set, but this was skipped: {report.longrepr}"
    return report
