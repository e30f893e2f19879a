"""What is known of the demo's tickets so far, and whether it is what should have become of them. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker_agents.devkit.demo.parts import Part
from worker_agents.kafka.dead_letters import ERROR_PREFIX, REASON_HEADER
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import Sent
from worker_agents.kafka.ticket_board import Progress, Standing, TicketBoard, is_final
from worker_agents.settings import Settings

SETTLING = "settling"
"""The state topic says that it is done, its answer has not been read yet."""

_ENDED = (Progress.COMPLETED, Progress.FAILED, Progress.SETTLED)


@dataclass(slots=True)
class Told:
    """One part, where its record lies, and what the topics say of it. ``results`` are final ones."""

    part: Part
    place: Record
    results: list[dict[str, Any]] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any] | None:
        return self.results[0] if self.results and not self.part.is_copy else None

    @property
    def reason(self) -> str | None:
        if self.result is not None:
            reason = self.result["error_reason"]
            return None if reason is None else str(reason)
        return self.letters[0].header(REASON_HEADER) if self.letters else None

    @property
    def output(self) -> dict[str, Any]:
        output = None if self.result is None else self.result["result"].get("output")
        return output if isinstance(output, dict) else {}

    @property
    def metadata(self) -> dict[str, Any]:
        return {} if self.result is None else self.result["result"]["metadata"]

    @property
    def is_simulated(self) -> bool:
        return self.metadata.get("simulated") is True

    @property
    def fallback_reason(self) -> str | None:
        """Why it is simulated."""
        return self.metadata.get("fallback_reason")


class Story:
    """Fed with the records of the results, dead-letter and state topics. No result may repeat ``secret``."""

    def __init__(self, settings: Settings, *, secret: str) -> None:
        self.told: list[Told] = []
        self._settings = settings
        self._secret = secret
        self._board = TicketBoard(settings.kafka_tickets_topic, settings.kafka_state_topic)

    def sent(self, part: Part, sent: Sent, now_ms: int) -> None:
        place = Record(sent.topic, sent.partition, sent.offset, now_ms, part.key.encode(), part.value)
        self.told.append(Told(part, place))

    def apply(self, record: Record) -> None:
        settings = self._settings
        if record.topic == settings.kafka_state_topic:
            self._board.apply(record)
        elif record.topic == settings.kafka_results_topic:
            self._add_result(orjson.loads(record.value or b"{}"))
        elif record.topic == settings.kafka_dlq_topic:
            self._add_letter(record)

    def _add_result(self, result: dict[str, Any]) -> None:
        for told in self.told:
            if told.part.ticket_id == result["ticket_id"] and is_final(result["status"]):
                told.results.append(result)

    def _add_letter(self, letter: Record) -> None:
        origin = tuple(letter.header(ERROR_PREFIX + name) for name in ("topic", "partition", "offset"))
        for told in self.told:
            if origin == (told.place.topic, str(told.place.partition), str(told.place.offset)):
                told.letters.append(letter)

    def forget_answers(self) -> None:
        """Before the results and dead letters are read once more from their beginning."""
        for told in self.told:
            told.results.clear()
            told.letters.clear()

    def standing(self, told: Told) -> Standing:
        return self._board.standing(told.place)

    @property
    def is_over(self) -> bool:
        """Whether the worker has settled every record, and its answers are known."""
        return all(self._is_settled(told) for told in self.told)

    def _is_settled(self, told: Told) -> bool:
        if not self._board.has_passed(told.place.partition, told.place.offset):
            return False
        ending = told.part.ending
        return bool(told.result is not None or ending.status is None) and bool(told.letters or not ending.dead_letter)

    def outcome(self, told: Told) -> str:
        """What became of it, or how far it is, in a few words."""
        result, standing = told.result, self.standing(told)
        if result is not None:
            words = [result["status"], *([result["error_reason"]] if result["error_reason"] else [])]
            words += [f"simulated: {told.fallback_reason}"] if told.is_simulated else []
            return ", ".join(words + (["dead letter"] if told.letters else []))
        if told.letters:
            return f"dead letter, {told.reason}"
        if standing.progress is Progress.UNREADABLE:
            return Progress.QUEUED.lower()
        if standing.progress in _ENDED:
            return SETTLING
        return _in_words(standing)

    def differences(self, told: Told) -> list[str]:
        """What is not as it should be; empty when all is."""
        return list(self._differences(told))

    def _differences(self, told: Told) -> Iterator[str]:
        ending = told.part.ending
        if told.part.is_copy:
            if len(told.results) != 1:
                yield f"{len(told.results)} results for {told.part.ticket_id}, should be 1"
            return
        result = told.result
        yield from _unequal("status", result and result["status"], ending.status)
        yield from _unequal("reason", told.reason, ending.reason)
        yield from _unequal("simulated", told.is_simulated, ending.is_simulated)
        yield from _unequal("dead letters", len(told.letters), int(ending.dead_letter))
        if result is not None:
            yield from self._result_differences(told, result)
        if told.letters and told.letters[0].value != told.part.value:
            yield "its dead letter is not the record that was sent, byte for byte"

    def _result_differences(self, told: Told, result: dict[str, Any]) -> Iterator[str]:
        ending = told.part.ending
        if ending.attempts is not None:
            yield from _unequal("attempts", result["attempts"], ending.attempts)
        if ending.after is not None and not self._began_after(result, ending.after):
            yield f"it began before {ending.after} was done"
        if told.is_simulated and not told.fallback_reason:
            yield "it does not say why it is simulated"
        yield from ending.output_differences(told.output)
        if self._secret in orjson.dumps(result).decode():
            yield "it repeats the key that lies in the source"

    def _began_after(self, result: dict[str, Any], ticket_id: str) -> bool:
        first = next((told.result for told in self.told if told.part.name == ticket_id), None)
        if first is None:
            return False
        return bool(result["timestamp"] - result["actual_duration_ms"] >= first["timestamp"] - 1)


def _in_words(standing: Standing) -> str:
    words = standing.progress.lower()
    if standing.progress is Progress.RUNNING and standing.attempt > 1:
        return f"{words}, attempt {standing.attempt}"
    return f"{words}: {standing.detail}" if standing.progress is Progress.WAITING else words


def _unequal(what: str, found: object, expected: object) -> Iterable[str]:
    if found != expected:
        yield f"{what} {_shown(found)}, should be {_shown(expected)}"


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
