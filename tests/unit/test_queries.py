"""The check of queries itself: what it must find."""

import pytest

from tests.support.queries import OF_TARGETS, Query, declared_series, process_series

KNOWN = declared_series()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("worker_agents_tickets_flying", "no metric worker_agents_tickets_flying"),
        ("worker_agents_task_duration_seconds", "no metric worker_agents_task_duration_seconds"),
        ('worker_agents_tickets_in_flight{type="BUILD"}', "no label type in worker_agents_tickets_in_flight"),
        ('rate(worker_agents_dead_letters_total{reason=~"timeout|hunger"}[5m])', "reason is never 'hunger'"),
        ('worker_agents_tickets_in_flight{phase!="flying"}', "phase is never 'flying'"),
        ("sum by (type) (worker_agents_tickets_in_flight)", "no label type in"),
        ("sum by (phase) (sum by (task_type) (worker_agents_tickets_in_flight))", "no label phase in"),
        ("worker_agents_ready and on (partition) worker_agents_draining_seconds", "no label partition in"),
        ("sum by (le) (histogram_quantile(0.5, worker_agents_task_duration_seconds_bucket))", "no label le in"),
        ("max_over_time((sum(worker_agents_redy))[5m:1m]) > 1", "no metric worker_agents_redy"),
        ("worker_agents_ready == 0 unless 1 < -worker_agents_redy", "no metric worker_agents_redy"),
    ],
)
def test_a_wrong_name_is_found_wherever_it_stands(query: str, problem: str) -> None:
    (found,) = Query(query, KNOWN).problems
    assert found.startswith(problem)


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        Query("sum(worker_agents_ready", KNOWN)


def test_a_right_query_tells_its_series_and_the_labels_of_its_result() -> None:
    query = Query(
        'sum by (task_type, pod) (rate(worker_agents_task_duration_seconds_bucket{le="1",task_type=~"$task_type"}[5m]))'
        ' or label_replace(worker_agents_ready, "shade", "$1", "pod", "(.*)")',
        KNOWN,
    )

    assert query.problems == []
    assert query.series == {"worker_agents_task_duration_seconds_bucket", "worker_agents_ready"}
    assert query.labels == {"task_type", "shade"} | OF_TARGETS


def test_figures_of_the_process_are_known() -> None:
    assert process_series().keys() >= {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
