"""What the group consumer is told."""

import pytest

from worker_agents.kafka.consumer import heartbeat_interval


@pytest.mark.parametrize("session_timeout", [6, 10, 45, 1800])
def test_partitions_that_were_handed_over_wait_a_second_at_most_for_the_next_owner_to_hear_of_it(
    session_timeout: float,
) -> None:
    assert heartbeat_interval(session_timeout) <= 1


@pytest.mark.parametrize("session_timeout", [6, 10, 45, 1800])
def test_several_heartbeats_may_be_lost_before_a_session_ends(session_timeout: float) -> None:
    assert heartbeat_interval(session_timeout) * 10 <= session_timeout
