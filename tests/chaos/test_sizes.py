"""Records that are too big for where they must go are settled all the same, and the line goes on."""

from __future__ import annotations

from tests.support.fleet import Fleet, probe
from tests.support.scenario import Scenario

NEARLY_1_MIB = 1024 * 1024 - 2_000


def filled(ticket_id: str, task_type: str, size: int) -> bytes:
    frame = b'{"ticket_id":"%s","task_type":"%s","parameters":{"filler":"%s"}}'
    spare = size - len(frame % (ticket_id.encode(), task_type.encode(), b""))
    return frame % (ticket_id.encode(), task_type.encode(), b"x" * spare)


async def test_tickets_and_results_of_nearly_1_mib(ships: Fleet, scenario: Scenario) -> None:
    await ships.configure("dlq", {"max.message.bytes": str(1024 * 1024)})
    worker = ships.worker()
    big = filled("big", "NO-SUCH-TYPE", NEARLY_1_MIB)
    await ships.submit([big, probe("huge-result", output_bytes=1_500_000), *(probe(f"s-{n}") for n in range(20))])

    sent = ["big", "huge-result", *(f"s-{number}" for number in range(20))]
    results = await ships.results(len(sent))
    scenario.take(sent, results)
    by_id = {result["ticket_id"]: result for result in results}
    assert by_id["big"]["error_reason"] == "unknown_task_type"
    assert by_id["huge-result"]["status"] == "COMPLETED"
    assert by_id["huge-result"]["result"]["metadata"]["truncated"] is True
    assert by_id["huge-result"]["result"]["metadata"].get("simulated", False) is False
    letters = await ships.read("dlq", lambda records: len(records) >= 1, timeout=10)
    headers = dict(letters[0].headers)
    assert headers["worker-agents.truncated"] == str(NEARLY_1_MIB).encode()
    assert (headers["__dlq.errors.topic"], headers["__dlq.errors.partition"]) == (
        ships.topics["tickets"].encode(),
        b"0",
    )
    assert big.startswith(letters[0].value)
    assert await worker.stop() == 0
