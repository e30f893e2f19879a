"""The short form of ``make chaos``: dozens of faults of every kind at random times, on one broker and on three."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.fire.driver import Plan, fight
from tests.support.tools import tool

FAULTS_A_MINUTE = 20
LEAST_KINDS = 8


@pytest.fixture
def seed() -> int:
    """CHAOS_SEED repeats a plan."""
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.chaos
@pytest.mark.timeout(480)
# Clients of the driver itself lose their brokers too, and aiokafka does not always let them be closed.
@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("brokers", "faults"), [(1, 8), (3, 23)], ids=["one broker", "three brokers"])
async def test_the_promise_under_fire(
    brokers: int, faults: int, seed: int, tmp_path: Path, closing_lines: list[str]
) -> None:
    for program in ("toxiproxy-server", "opa"):
        tool(program)
    print(f"repeat with CHAOS_SEED={seed}")  # noqa: T201 # also when it ends without a report
    plan = Plan(seed=seed, seconds=faults * 60 / FAULTS_A_MINUTE, brokers=brokers, faults_a_minute=FAULTS_A_MINUTE)
    report = await fight(plan, tmp_path)
    report.write(tmp_path)
    closing_lines.append(report.closing_line())
    assert report.is_clean, "\n".join([*report.lines(), f"logs: {tmp_path}"])
    assert len(report.evidence.faults) == faults
    assert len(report.kinds) >= LEAST_KINDS
