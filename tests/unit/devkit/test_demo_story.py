"""The demo tells right from wrong: an ending that is not as it should be is a difference."""

from typing import Any

import orjson
import pytest

from worker_agents.devkit.demo.cast import cast
from worker_agents.devkit.demo.parts import SOME, Part
from worker_agents.devkit.demo.programs import OPA, PYTEST, TRIVY
from worker_agents.devkit.demo.story import SETTLING, Story
from worker_agents.kafka.codec import encode_fact, encode_state
from worker_agents.kafka.dead_letters import ERROR_PREFIX, REASON_HEADER
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import Sent
from worker_agents.model.result import Status
from worker_agents.model.state import Done
from worker_agents.model.ticket import KNOWN_TASK_TYPES
from worker_agents.settings import Settings

SETTINGS = Settings()
PARTS = {part.name: part for part in cast()}
SIMULATED = {part.name: part for part in cast({OPA, TRIVY, PYTEST}) if part.needs}
KEY = "the-planted-key"


def story_of(*names: str) -> Story:
    return story_with(*(PARTS[name] for name in names))


def story_with(*parts: Part) -> Story:
    story = Story(SETTINGS, secret=KEY)
    for offset, part in enumerate(parts):
        story.sent(part, Sent(SETTINGS.kafka_tickets_topic, 0, offset), 0)
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
        "result": {
            "output": {name: ["something"] if value is SOME else value for name, value in ending.output.items()},
            "metadata": {"simulated": ending.is_simulated, "fallback_reason": "dependency_unavailable"},
        },
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


def alone(part: Part) -> bool:
    return not part.is_copy and not part.ending.after


@pytest.mark.parametrize(
    "part",
    [
        *(pytest.param(part, id=part.name) for part in PARTS.values() if alone(part)),
        *(pytest.param(part, id=f"{part.name}, simulated") for part in SIMULATED.values()),
    ],
)
def test_each_part_can_end_as_it_should(part: Part) -> None:
    story = story_with(part)
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
        ("demo-outage", {"result": {"metadata": {"simulated": True}}}, "it does not say why it is simulated"),
    ],
)
def test_a_wrong_ending(name: str, changes: dict[str, Any], difference: str) -> None:
    story = story_of(name)
    story.apply(result(PARTS[name], **changes))

    assert differences(story) == [difference]


def output(part: Part, **changes: Any) -> dict[str, Any]:
    shown = {name: ["something"] if value is SOME else value for name, value in part.ending.output.items()}
    return {"result": {"output": shown | changes, "metadata": {}}}


@pytest.mark.parametrize(
    ("name", "changes", "difference"),
    [
        ("demo-build", {"artifacts": []}, "artifacts is empty"),
        ("demo-denied", {"violations": []}, "violations is empty"),
        ("demo-allowed", {"violations": [1]}, "violations [1], should be []"),
        ("demo-tested", {"tests_passed": 0}, "tests_passed 0, should be 2"),
        ("demo-red", {"tests_failed": 0}, "tests_failed 0, should be 1"),
        ("demo-deploy", {"status": "degraded"}, "status degraded, should be healthy"),
        ("demo-leaky", {"violations": [{"message": f"found {KEY}"}]}, "it repeats the key that lies in the source"),
    ],
)
def test_an_output_that_is_not_as_it_should_be(name: str, changes: dict[str, Any], difference: str) -> None:
    story = story_of(name)
    story.apply(result(PARTS[name], **output(PARTS[name], **changes)))

    assert differences(story) == [difference]


def test_every_task_type_has_a_part_that_completes() -> None:
    completing = {
        orjson.loads(part.value)["task_type"]
        for part in cast()
        if part.ending.status is Status.COMPLETED and not part.ending.is_simulated
    }

    assert completing == KNOWN_TASK_TYPES


def test_only_what_needs_a_missing_program_is_simulated() -> None:
    changed = {part.name for part, other in zip(cast(), cast({TRIVY}), strict=True) if part.ending != other.ending}

    assert changed == {"demo-leaky"}


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
