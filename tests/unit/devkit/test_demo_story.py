"""The demo tells right from wrong: an ending that is not as it should be is a difference."""

from typing import Any

import orjson
import pytest

from worker_agents.devkit.demo.cast import Part, cast
from worker_agents.devkit.demo.story import SETTLING, Story
from worker_agents.kafka.codec import encode_fact, encode_state
from worker_agents.kafka.dead_letters import ERROR_PREFIX, REASON_HEADER
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import Sent
from worker_agents.model.result import Status
from worker_agents.model.state import Done
from worker_agents.settings import Settings

SETTINGS = Settings()
PARTS = {part.name: part for part in cast()}


def story_of(*names: str) -> Story:
    story = Story(SETTINGS)
    for offset, name in enumerate(names):
        story.sent(PARTS[name], Sent(SETTINGS.kafka_tickets_topic, 0, offset), 0)
    return story


def result(part: Part, **changes: Any) -> Record:
    ending = part.ending
    document = {
        "ticket_id": part.ticket_id,
        "status": ending.status,
        "error_reason": ending.reason,
        "attempts": ending.attempts or 1,
        "actual_duration_ms": 10,
        "timestamp": 1000,
        "result": {"metadata": {"simulated": ending.is_simulated}},
        **changes,
    }
    return Record(SETTINGS.kafka_results_topic, 0, 0, 0, b"k", orjson.dumps(document))


def letter(part: Part, offset: int, value: bytes | None = None) -> Record:
    place = {"topic": SETTINGS.kafka_tickets_topic, "partition": "0", "offset": str(offset)}
    headers = tuple((ERROR_PREFIX + name, text.encode()) for name, text in place.items())
    reason = (REASON_HEADER, str(part.ending.reason).encode())
    return Record(SETTINGS.kafka_dlq_topic, 0, 0, 0, None, part.value if value is None else value, (*headers, reason))


def floor(offset: int) -> Record:
    key, value = encode_fact(offset)
    return Record(SETTINGS.kafka_state_topic, 0, 0, 0, key.encode(), value)


def differences(story: Story) -> list[str]:
    return [problem for told in story.told for problem in story.differences(told)]


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if not part.is_copy and not part.ending.after])
def test_each_part_can_end_as_it_should(name: str) -> None:
    part = PARTS[name]
    story = story_of(name)
    assert not story.is_over
    assert differences(story)

    if part.ending.status is not None:
        story.apply(result(part))
    if part.ending.dead_letter:
        story.apply(letter(part, 0))
    story.apply(floor(1))

    assert differences(story) == []
    assert story.is_over


@pytest.mark.parametrize(
    ("name", "changes", "difference"),
    [
        ("demo-generate", {"status": "FAILED"}, "status FAILED, should be COMPLETED"),
        ("demo-verdict", {"error_reason": "timeout"}, "reason timeout, should be verdict_failed"),
        ("demo-retried", {"attempts": 1}, "attempts 1, should be 2"),
        ("demo-outage", {"result": {"metadata": {}}}, "simulated False, should be True"),
    ],
)
def test_a_wrong_ending(name: str, changes: dict[str, Any], difference: str) -> None:
    story = story_of(name)
    story.apply(result(PARTS[name], **changes))

    assert differences(story) == [difference]


def test_a_dead_letter_that_was_changed_on_its_way() -> None:
    story = story_of("demo-malformed")
    story.apply(letter(PARTS["demo-malformed"], 0, b"{"))

    assert differences(story) == ["its dead letter is not the record that was sent, byte for byte"]


def test_a_copy_that_gets_a_result_of_its_own() -> None:
    story = story_of("demo-generate", "demo-generate (copy)")
    story.apply(result(PARTS["demo-generate"]))
    assert differences(story) == []

    story.apply(result(PARTS["demo-generate"]))
    assert differences(story) == ["2 results for demo-generate, should be 1"]


@pytest.mark.parametrize(("began", "problems"), [(1000, []), (500, ["it began before demo-first was done"])])
def test_what_depends_on_another_begins_after_it(began: int, problems: list[str]) -> None:
    story = story_of("demo-second", "demo-first")
    story.apply(result(PARTS["demo-first"], timestamp=1000))
    story.apply(result(PARTS["demo-second"], timestamp=began + 10, actual_duration_ms=10))

    assert differences(story) == problems


def test_what_is_shown_on_the_way() -> None:
    story = story_of("demo-generate")
    (told,) = story.told
    assert story.outcome(told) == "queued"

    done = encode_state(Done(Status.COMPLETED, 0, 1))
    story.apply(Record(SETTINGS.kafka_state_topic, 0, 0, 0, b"demo-generate", done))
    assert story.outcome(told) == SETTLING

    story.apply(result(PARTS["demo-generate"]))
    assert story.outcome(told) == "COMPLETED"
