"""The choice between a simulated result and the error."""

import pytest

from worker_agents.devkit.executor_kit import FakeContext, ticket_for
from worker_agents.executors.fallback import OUTAGES, Fallback
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationDisabled,
    IntegrationRejected,
    IntegrationUnavailable,
    UnknownOutcome,
)
from worker_agents.telemetry.events import Event, FallbackUsed

OUTAGE = IntegrationUnavailable("opa decide: HTTP 503")


def test_a_simulated_result_is_announced_with_the_guides_name_for_it() -> None:
    events: list[Event] = []
    context = FakeContext()

    Fallback("opa", "simulate", events.append).announce(
        OUTAGE, ticket_for("VALIDATE", ticket_id="t-1"), context, log_event="validation_opa_error"
    )

    assert events == [
        FallbackUsed("t-1", "VALIDATE", "opa", "dependency_unavailable", "opa decide: HTTP 503", "validation_opa_error")
    ]
    assert context.lines == ["opa: opa decide: HTTP 503"]


def test_the_error_comes_back_where_the_choice_is_fail() -> None:
    events: list[Event] = []

    with pytest.raises(IntegrationUnavailable) as raised:
        Fallback("opa", "fail", events.append).announce(OUTAGE, ticket_for("VALIDATE"), FakeContext(), log_event="x")

    assert raised.value is OUTAGE
    assert events == []


def test_only_outages_may_be_simulated() -> None:
    assert isinstance(BreakerOpen("open", integration="opa", retry_after=5), OUTAGES)
    assert isinstance(IntegrationDisabled("off"), OUTAGES)
    assert not isinstance(IntegrationRejected("HTTP 400"), OUTAGES)
    assert not isinstance(UnknownOutcome("lost"), OUTAGES)
