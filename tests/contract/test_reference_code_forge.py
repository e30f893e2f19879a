"""The reference Code Forge keeps contracts 1.9, shows every peculiarity on demand and plays every fault."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from worker_agents.devkit.code_forge import (
    POLLS,
    STARTS,
    Behaviour,
    CodeForgeServer,
    Fault,
    FaultKind,
    ManualClock,
    Operation,
    Peculiarities,
    Progress,
    Script,
    Starts,
)

REPOSITORY = Path(__file__).parents[2]
WELL_BEHAVED = Behaviour(peculiarities=Peculiarities.none())
AT_ONCE = Progress(queued=0, processing=0)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def forge(clock: ManualClock) -> AsyncIterator[CodeForgeServer]:
    async with CodeForgeServer(WELL_BEHAVED, clock=clock) as server:
        yield server


@pytest.fixture
async def http(forge: CodeForgeServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=forge.url, timeout=10) as client:
        yield client


async def generate(
    http: httpx.AsyncClient, ticket_id: str = "t-1", template_id: str = "service", **more: Any
) -> httpx.Response:
    headers = more.pop("headers", None)
    body = {"ticket_id": ticket_id, "template_id": template_id, "parameters": {}, "target_repo": "r", "branch": "main"}
    return await http.post("/api/v1/generate", json=body | more, headers=headers)


async def build(http: httpx.AsyncClient, artifact_id: str = "t-1", **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    return await http.post("/api/v1/pipelines", json={"artifact_id": artifact_id} | more, headers=headers)


async def generation_id(http: httpx.AsyncClient, ticket_id: str = "t-1", template_id: str = "service") -> str:
    return str((await generate(http, ticket_id, template_id)).json()["request_id"])


async def pipeline_id(http: httpx.AsyncClient, artifact_id: str = "t-1") -> str:
    return str((await build(http, artifact_id)).json()["pipeline_id"])


async def read_generation(http: httpx.AsyncClient, request_id: str) -> httpx.Response:
    return await http.get(f"/api/v1/generate/{request_id}")


async def read_pipeline(http: httpx.AsyncClient, pipeline_id: str) -> httpx.Response:
    return await http.get(f"/api/v1/pipelines/{pipeline_id}")


def key(ticket_id: str, operation: str = "generate") -> dict[str, str]:
    return {"Idempotency-Key": f"{ticket_id}:{operation}"}


def peculiar(forge: CodeForgeServer, **changes: Any) -> None:
    forge.change(peculiarities=replace(forge.behaviour.peculiarities, **changes))


class TestGenerate:
    async def test_is_accepted_and_walks_from_queued_to_completed(self, http: httpx.AsyncClient) -> None:
        started = await generate(http)
        assert started.status_code == 202
        assert started.json().keys() == {"request_id", "status", "message"}
        assert started.json()["status"] == "queued"

        answers = [await read_generation(http, started.json()["request_id"]) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [answer.json()["status"] for answer in answers] == ["queued", "processing", "completed"]
        body = answers[-1].json()
        assert body["pipeline_id"] == body["request_id"]
        assert body["error"] is None
        assert body["artifacts"][0].keys() == {
            "type",
            "language",
            "content_hash",
            "size_bytes",
            "generated_at",
            "template_id",
            "artifact_id",
            "confidence_score",
            "generation_method",
        }

    @pytest.mark.parametrize("field", ["ticket_id", "template_id"])
    async def test_needs_its_fields(self, http: httpx.AsyncClient, field: str) -> None:
        body = {"ticket_id": "t-1", "template_id": "service"} | {field: None}
        answer = await http.post("/api/v1/generate", json=body)
        assert (answer.status_code, answer.json()) == (400, {"detail": f"{field} is required"})

    async def test_body_must_be_an_object(self, http: httpx.AsyncClient) -> None:
        for content in (b"", b"{", b"[]"):
            answer = await http.post("/api/v1/generate", content=content)
            assert answer.status_code == 422
            assert "detail" in answer.json()

    async def test_unknown_request_is_404(self, http: httpx.AsyncClient) -> None:
        answer = await read_generation(http, "nobody")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Generation request nobody not found"})

    async def test_list_counts_statuses_and_is_no_poll(self, http: httpx.AsyncClient) -> None:
        first = await generation_id(http, "t-1")
        await generation_id(http, "t-2", "fail")
        for _ in range(3):
            await read_generation(http, first)
        first_time, listed = [(await http.get("/api/v1/generate")).json() for _ in range(2)]

        assert listed == first_time
        assert listed["total"] == 2
        assert listed["status_counts"] == {"completed": 1, "queued": 1}
        assert listed["requests"][0].keys() == {
            "request_id",
            "status",
            "ticket_id",
            "template_id",
            "created_at",
            "updated_at",
        }


class TestPipelines:
    async def test_is_created_and_walks_from_queued_to_completed(self, http: httpx.AsyncClient) -> None:
        started = await build(http, "t-1", parameters={"plan_id": "p"})
        assert started.status_code == 201
        assert started.json().keys() == {"pipeline_id", "status", "ticket_id"}

        answers = [(await read_pipeline(http, started.json()["pipeline_id"])).json() for _ in range(3)]

        assert [(body["status"], body["stage"]) for body in answers] == [
            ("queued", "QUEUED"),
            ("running", "BUILDING"),
            ("completed", "COMPLETED"),
        ]
        assert [bool(body["artifacts"]) for body in answers] == [False, False, True]
        assert all(isinstance(body["duration_ms"], int) for body in answers)

    async def test_failure_has_a_stage_and_an_error(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(progress=AT_ONCE)
        body = (await read_pipeline(http, await pipeline_id(http, "fail:t-1"))).json()
        assert (body["status"], body["stage"]) == ("failed", "FAILED")
        assert body["error"] == "template cannot be rendered"
        assert body["artifacts"] == []

    async def test_needs_an_artifact(self, http: httpx.AsyncClient) -> None:
        answer = await http.post("/api/v1/pipelines", json={"parameters": {}})
        assert (answer.status_code, answer.json()) == (400, {"detail": "artifact_id is required"})

    async def test_unknown_pipeline_is_404(self, http: httpx.AsyncClient) -> None:
        answer = await read_pipeline(http, "nobody")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Pipeline not found"})

    async def test_is_not_found_as_a_generation(self, http: httpx.AsyncClient) -> None:
        assert (await read_generation(http, await pipeline_id(http))).status_code == 404


class TestOtherEndpoints:
    async def test_health_ready_metrics_and_webhook(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/health")).json() == {"status": "healthy", "service": "code-forge"}
        assert (await http.get("/ready")).json()["ready"] is True
        assert (await http.get("/metrics")).status_code == 200
        webhook = await http.post("/api/v1/webhooks/pipeline-completed", json={"pipeline_id": "p"})
        assert webhook.json() == {"status": "processed", "pipeline_id": "p", "ticket_updated": False}

    @pytest.mark.parametrize(
        ("method", "path", "status", "detail"),
        [
            ("POST", "/api/v1/generate/some/cancel", 404, "Not Found"),
            ("POST", "/api/v1/pipelines/some/cancel", 404, "Not Found"),
            ("GET", "/nowhere", 404, "Not Found"),
            ("DELETE", "/api/v1/pipelines/some", 405, "Method Not Allowed"),
            ("GET", "/_control/nowhere", 404, "Not Found"),
        ],
    )
    async def test_what_does_not_exist_answers_as_fastapi_does(
        self, http: httpx.AsyncClient, method: str, path: str, status: int, detail: str
    ) -> None:
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()) == (status, {"detail": detail})


class TestPeculiarities:
    """Each with its switch on; the tests above have them off."""

    async def test_generation_without_artifacts_is_a_plain_500(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        peculiar(forge, empty_artifacts_500=True)
        good, bad, empty = [await generation_id(http, "t", template) for template in ("service", "fail", "empty")]
        statuses = [[(await read_generation(http, work)).status_code for _ in range(4)] for work in (good, bad, empty)]
        assert statuses == [[500, 500, 200, 200], [500] * 4, [500] * 4]
        assert (await read_generation(http, bad)).text == "Internal Server Error"
        listed = (await http.get("/api/v1/generate")).json()
        assert listed["status_counts"] == {"completed": 2, "failed": 1}

    async def test_new_pipeline_is_not_found_at_first(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        peculiar(forge, pipeline_unknown_polls=2)
        work = await pipeline_id(http)
        answers = [await read_pipeline(http, work) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [404, 404, 200]
        assert answers[-1].json()["status"] == "queued"

    async def test_new_generation_can_be_not_found_too(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        peculiar(forge, generation_unknown_polls=1)
        work = await generation_id(http)
        assert [(await read_generation(http, work)).status_code for _ in range(2)] == [404, 200]

    async def test_no_error_reads_none_as_text(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(progress=AT_ONCE)
        peculiar(forge, none_as_text=True)
        assert (await read_generation(http, await generation_id(http))).json()["error"] == "None"
        assert (await read_pipeline(http, await pipeline_id(http))).json()["error"] == "None"
        assert (await read_pipeline(http, await pipeline_id(http, "fail"))).json()["error"] != "None"

    @pytest.mark.parametrize(("on", "status", "artifacts"), [(True, "failed", 0), (False, "completed", 1)])
    async def test_success_with_datetimes_is_stored_as_failed(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, on: bool, status: str, artifacts: int
    ) -> None:
        forge.change(progress=AT_ONCE)
        peculiar(forge, datetime_artifacts_fail=on)
        for body in (
            (await read_pipeline(http, await pipeline_id(http, "datetime"))).json(),
            (await read_generation(http, await generation_id(http, template_id="datetime"))).json(),
        ):
            assert (body["status"], len(body["artifacts"])) == (status, artifacts)
            assert (body["error"] is not None) == on

    async def test_work_is_forgotten_after_its_time(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, clock: ManualClock
    ) -> None:
        peculiar(forge, expire_after_seconds=86_400)
        pipeline = await pipeline_id(http)
        generation = (await generate(http, headers=key("t-1"))).json()["request_id"]
        clock.advance(86_399)
        assert (await read_pipeline(http, pipeline)).status_code == 200
        clock.advance(1)
        assert (await read_pipeline(http, pipeline)).status_code == 404
        assert (await read_generation(http, generation)).status_code == 404
        assert (await http.get("/api/v1/generate")).json()["total"] == 0
        assert (await generate(http, headers=key("t-1"))).json()["request_id"] != generation

    @pytest.mark.parametrize("hidden", [True, False])
    async def test_pipeline_hides_sbom_and_signature(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, hidden: bool
    ) -> None:
        forge.change(progress=AT_ONCE)
        peculiar(forge, no_sbom=hidden)
        body = (await read_pipeline(http, await pipeline_id(http))).json()
        assert ("sbom" in body, "signature" in body) == (not hidden, not hidden)

    @pytest.mark.parametrize("foreign", [True, False])
    async def test_pipeline_answers_with_a_ticket_id_of_its_own(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, foreign: bool
    ) -> None:
        peculiar(forge, foreign_ticket_id=foreign)
        first, again = [(await build(http, "t-1", headers=key("t-1", "pipeline"))).json() for _ in range(2)]
        assert (first["ticket_id"] != "t-1") == foreign
        assert again == first

    async def test_bundled_mock_takes_one_stage_a_poll(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        peculiar(forge, bundled_mock=True)
        started = (await build(http, "app")).json()
        assert started.keys() == {"pipeline_id", "status"}
        bodies = [(await read_pipeline(http, started["pipeline_id"])).json() for _ in range(5)]
        assert [body["stage"] for body in bodies] == ["building", "testing", "packaging", "completed", "completed"]
        assert bodies[-1]["artifacts"] == [{"type": "image", "name": "app:latest"}]
        assert bodies[-1]["duration_ms"] == 5000
        assert not bodies[-1].keys() & {"error", "created_at", "updated_at", "sbom"}

    @pytest.mark.parametrize(("ending", "stored"), [("review", "completed"), ("partial", "failed")])
    async def test_some_endings_of_a_pipeline_are_stored_as_others(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, ending: str, stored: str
    ) -> None:
        forge.change(progress=AT_ONCE)
        pipeline = await pipeline_id(http, f"{ending}:t-1")
        shown = (await read_pipeline(http, pipeline)).json()["status"]
        peculiar(forge, stores_other_status=True)
        body = (await read_pipeline(http, pipeline)).json()

        assert shown == {"review": "requires_review", "partial": "partial"}[ending]
        assert (body["status"], body["stage"]) == (stored, stored.upper())
        assert bool(body["artifacts"]) == (stored == "completed") == (body["error"] is None)

    async def test_stage_can_be_a_list(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        peculiar(forge, stage_as_list=True)
        pipeline = await pipeline_id(http)
        bodies = [(await read_pipeline(http, pipeline)).json() for _ in range(3)]
        assert [body["stage"] for body in bodies] == [
            ["QUEUED"],
            ["QUEUED", "BUILDING"],
            ["QUEUED", "BUILDING", "COMPLETED"],
        ]

    def test_are_the_peers_by_default(self) -> None:
        assert Behaviour().peculiarities == Peculiarities()
        off = Peculiarities.none()
        same = [name for name in Peculiarities.__slots__ if getattr(off, name) == getattr(Peculiarities(), name)]
        assert same == ["generation_unknown_polls", "stage_as_list", "bundled_mock"]


class TestIdempotency:
    async def test_same_key_finds_the_same_work(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        first, again = [await generate(http, headers=key("t-1")) for _ in range(2)]
        assert again.status_code == 202
        assert again.json() == first.json()
        assert [call.start for call in forge.log] == ["created", "reused"]
        assert forge.log.works_created == 1

    async def test_keys_of_the_two_apis_are_apart(self, http: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "same"}
        generation = (await generate(http, headers=headers)).json()["request_id"]
        assert (await build(http, headers=headers)).json()["pipeline_id"] != generation

    async def test_without_a_key_every_start_is_new(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        assert await generation_id(http) != await generation_id(http)
        assert len(forge.log.starts_by_ticket()["t-1"].request_ids) == 2

    async def test_a_service_that_ignores_keys_starts_twice(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        forge.change(idempotency=False)
        first, again = [(await build(http, headers=key("t-1", "pipeline"))).json()["pipeline_id"] for _ in range(2)]
        assert forge.log.starts_by_ticket() == {"t-1": Starts(2, (first, again))}


class TestProgress:
    async def test_goes_by_the_clock(self, forge: CodeForgeServer, http: httpx.AsyncClient, clock: ManualClock) -> None:
        forge.change(progress=Progress(queued=10, processing=50, unit="seconds"))
        work = await pipeline_id(http)
        seen = []
        for seconds in (0, 9, 1, 49, 1, 100):
            clock.advance(seconds)
            body = (await read_pipeline(http, work)).json()
            seen.append((body["status"], body["duration_ms"]))
        assert seen == [
            ("queued", 0),
            ("queued", 9_000),
            ("running", 10_000),
            ("running", 59_000),
            ("completed", 60_000),
            ("completed", 60_000),
        ]

    async def test_work_can_be_held_and_released(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(progress=Progress(processing=None))
        work = await generation_id(http)
        statuses = [(await read_generation(http, work)).json()["status"] for _ in range(5)]
        forge.change(progress=AT_ONCE)
        statuses.append((await read_generation(http, work)).json()["status"])
        assert statuses == ["queued", *["processing"] * 4, "completed"]

    async def test_never_goes_back(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(progress=AT_ONCE)
        work = await generation_id(http)
        assert (await read_generation(http, work)).json()["status"] == "completed"
        forge.change(progress=Progress(queued=None))
        assert (await read_generation(http, work)).json()["status"] == "completed"


class TestScripts:
    async def test_parameters_choose_before_the_template(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(progress=AT_ONCE)
        started = await generate(http, template_id="stuck", parameters={"behaviour": "fail"})
        assert (await read_generation(http, started.json()["request_id"])).json()["status"] == "failed"

    async def test_slow_takes_its_own_time(self, http: httpx.AsyncClient, clock: ManualClock) -> None:
        work = await generation_id(http, template_id="slow")
        statuses = []
        for seconds in (0, 1, 9):
            clock.advance(seconds)
            statuses.append((await read_generation(http, work)).json()["status"])
        assert statuses == ["queued", "processing", "completed"]

    async def test_flaky_recovers_for_each_ticket_on_its_own(self, http: httpx.AsyncClient) -> None:
        assert [(await generate(http, "a", "flaky")).status_code for _ in range(3)] == [503, 503, 202]
        assert [(await generate(http, "b", "flaky")).status_code for _ in range(3)] == [503, 503, 202]

    async def test_down_is_down_for_its_ticket_only(self, http: httpx.AsyncClient) -> None:
        assert [(await generate(http, "a", "down")).status_code for _ in range(5)] == [503] * 5
        assert (await generate(http, "b")).status_code == 202

    async def test_rejected_is_a_400(self, http: httpx.AsyncClient) -> None:
        assert (await generate(http, template_id="rejected")).status_code == 400

    async def test_own_scripts_can_be_added(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(templates={"odd": Script(outcome="cancelled", error="by hand")}, progress=AT_ONCE)
        body = (await read_pipeline(http, await pipeline_id(http, "odd"))).json()
        assert (body["status"], body["error"]) == ("cancelled", "by hand")
        assert (await read_pipeline(http, await pipeline_id(http, "fail"))).json()["status"] == "completed"

    async def test_poll_faults_of_a_script_hit_its_polls(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(templates={"shy": Script(faults=(Fault.answers(502, times=2, on=POLLS),))})
        work = await generation_id(http, template_id="shy")
        assert [(await read_generation(http, work)).status_code for _ in range(3)] == [502, 502, 200]


class TestFaults:
    async def test_so_many_calls_get_a_status(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(429, times=2, retry_after=7, on=STARTS),))
        answers = [await generate(http) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 429, 202]
        assert answers[0].headers["Retry-After"] == "7"
        assert answers[0].json() == {"detail": "told to fail"}
        assert forge.log.works_created == 1

    async def test_times_none_goes_on_until_changed(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(500, times=None),))
        assert {(await generate(http)).status_code for _ in range(20)} == {500}
        forge.change(faults=())
        assert (await generate(http)).status_code == 202

    async def test_hits_the_named_ticket_only(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(500, ticket_id="b"),))
        assert [(await generate(http, ticket)).status_code for ticket in "abb"] == [202, 500, 202]

    async def test_one_after_another(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(500), Fault.answers(429)))
        assert [(await generate(http)).status_code for _ in range(3)] == [500, 429, 202]

    async def test_are_counted_anew_only_when_they_are_changed(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        faults = (Fault.answers(500),)
        forge.change(faults=faults)
        assert (await generate(http)).status_code == 500
        forge.change(latency=0)
        assert (await generate(http)).status_code == 202
        forge.change(faults=faults)
        assert (await generate(http)).status_code == 500
        forge.behaviour = forge.behaviour
        assert (await generate(http)).status_code == 500

    async def test_lost_answer_leaves_work_behind(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.loses_answer(on=STARTS),))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await generate(http, headers=key("t-1"))
        found = (await generate(http, headers=key("t-1"))).json()["request_id"]
        assert forge.log.starts_by_ticket() == {"t-1": Starts(2, (found,))}
        lost, repeated = forge.log
        assert (lost.status, lost.fault, lost.start) == (None, FaultKind.DROP, "created")
        assert (repeated.status, repeated.fault, repeated.start) == (202, None, "reused")

    async def test_refusal_leaves_nothing_behind(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.refuses(),))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await generate(http)
        assert forge.log.starts_by_ticket() == {"t-1": Starts(1, ())}

    async def test_gateway_time_out_leaves_work_behind(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.times_out_behind_gateway(),))
        assert (await generate(http)).status_code == 504
        assert forge.log.works_created == 1

    @pytest.mark.parametrize("after_work", [False, True])
    async def test_hang_ends_when_the_client_leaves(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, after_work: bool
    ) -> None:
        forge.change(faults=(Fault.hangs(after_work=after_work),))
        hanging = asyncio.create_task(generate(http))
        await forge.log.wait_until(lambda log: any(call.fault == FaultKind.HANG for call in log))
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert forge.log.works_created == after_work
        assert (await generate(http)).status_code == 202

    async def test_nonsense_comes_after_the_work(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.nonsense(), Fault.nonsense('{"request_id": 7}', content_type="application/json")))
        page, odd = [await generate(http) for _ in range(2)]
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert odd.json() == {"request_id": 7}
        assert forge.log.works_created == 2

    async def test_default_aim_spares_health(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(500, times=None),))
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/api/v1/generate")).status_code == 500

    async def test_down_is_503_on_everything_until_it_comes_back(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        work = await generation_id(http)
        forge.change(down=True)
        for path in ("/health", "/ready", "/nowhere", f"/api/v1/generate/{work}"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()) == (503, {"detail": "Service Unavailable"})
        assert (await generate(http)).status_code == 503
        forge.change(down=False)
        assert (await read_generation(http, work)).status_code == 200
        assert forge.log.works_created == 1

    async def test_latency_delays_the_answer(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, clock: ManualClock
    ) -> None:
        forge.change(latency=5)
        waiting = asyncio.create_task(generate(http))
        await clock.until_someone_sleeps()
        clock.advance(4)
        assert forge.log.works_created == 0
        clock.advance(1)
        assert (await waiting).status_code == 202


class TestToken:
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}])
    async def test_missing_or_wrong_is_401(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        forge.change(token="secret")
        answer = await generate(http, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})
        assert answer.headers["www-authenticate"] == "Bearer"
        assert forge.log.works_created == 0

    async def test_right_one_passes_and_health_needs_none(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        forge.change(token="secret")
        assert (await generate(http, headers={"Authorization": "Bearer secret"})).status_code == 202
        assert (await http.get("/health")).status_code == 200


class TestLog:
    async def test_tells_what_was_asked_and_answered(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, clock: ManualClock
    ) -> None:
        started = await generate(http, headers=key("t-1") | {"traceparent": TRACEPARENT})
        request_id = started.json()["request_id"]
        clock.advance(3)
        await read_generation(http, request_id)
        await http.get("/nowhere")

        post, poll, other = [call.to_json() for call in forge.log]
        assert post | {"body": None, "at": None} == {
            "number": 1,
            "at": None,
            "method": "POST",
            "path": "/api/v1/generate",
            "operation": "start_generation",
            "ticket_id": "t-1",
            "idempotency_key": "t-1:generate",
            "traceparent": TRACEPARENT,
            "body": None,
            "status": 202,
            "fault": None,
            "request_id": request_id,
            "start": "created",
        }
        assert post["body"]["target_repo"] == "r"
        assert (poll["ticket_id"], poll["request_id"], poll["operation"]) == ("t-1", request_id, "poll_generation")
        assert poll["at"] - post["at"] == 3
        assert (other["status"], other["operation"]) == (404, "other")

    async def test_knows_the_ticket_of_a_pipeline(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        await build(http, "artifact", headers=key("t:pipeline:1", "pipeline:3-7"))
        await build(http, "artifact", parameters={"ticket_id": "t-2"})
        started = await build(http, "t-3")
        await read_pipeline(http, started.json()["pipeline_id"])
        assert [call.ticket_id for call in forge.log] == ["t:pipeline:1", "t-2", "t-3", "t-3"]

    async def test_counts_starts_by_ticket(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        forge.change(faults=(Fault.answers(503),))
        await generate(http, "a", headers=key("a"))
        first = (await generate(http, "a", headers=key("a"))).json()["request_id"]
        built = (await build(http, "a")).json()["pipeline_id"]
        other = (await generate(http, "b")).json()["request_id"]
        assert forge.log.starts_by_ticket() == {"a": Starts(3, (first, built)), "b": Starts(1, (other,))}
        assert forge.log.starts_by_ticket(Operation.START_PIPELINE) == {"a": Starts(1, (built,))}

    async def test_can_be_searched_and_cleared(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        work = await generation_id(http, "a")
        await generation_id(http, "b")
        await read_generation(http, work)
        assert len(forge.log.find(ticket_id="a")) == 2
        assert len(forge.log.find(ticket_id="a", operation=Operation.POLL_GENERATION)) == 1
        assert [call.number for call in forge.log.find(since=1, method="POST")] == [2]
        forge.log.clear()
        assert (list(forge.log), forge.log.starts_by_ticket()) == ([], {})
        await read_generation(http, work)
        assert [call.number for call in forge.log] == [4]


class TestControl:
    async def test_shows_and_changes_the_behaviour(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        assert (await http.get("/_control/behaviour")).json() == forge.behaviour.to_json()
        changed = await http.post(
            "/_control/behaviour",
            json={
                "latency": 0.5,
                "progress": {"queued": None},
                "peculiarities": {"none_as_text": True},
                "faults": [{"kind": "drop", "after_work": True, "on": ["start_generation"], "times": None}],
                "templates": {"odd": {"outcome": "cancelled"}},
            },
        )
        assert changed.status_code == 200
        assert forge.behaviour.to_json() == changed.json()
        assert forge.behaviour == replace(
            WELL_BEHAVED,
            latency=0.5,
            progress=Progress(queued=None),
            peculiarities=replace(Peculiarities.none(), none_as_text=True),
            faults=(Fault.loses_answer(on=frozenset({Operation.START_GENERATION}), times=None),),
            templates={**WELL_BEHAVED.templates, "odd": Script(outcome="cancelled")},
        )

    async def test_put_returns_to_the_default(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        assert (await http.put("/_control/behaviour", json={"token": "x"})).status_code == 200
        assert forge.behaviour == Behaviour(token="x")

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b'{"dwon": true}', b'{"peculiarities": {"x": 1}}', b'{"faults": [{"kind": "x"}]}']
    )
    async def test_mistakes_change_nothing(self, forge: CodeForgeServer, http: httpx.AsyncClient, body: bytes) -> None:
        for method in ("POST", "PUT"):
            answer = await http.request(method, "/_control/behaviour", content=body)
            assert answer.status_code == 422
            assert answer.json()["detail"]
        assert forge.behaviour == WELL_BEHAVED

    async def test_reads_the_log(self, http: httpx.AsyncClient) -> None:
        work = await generation_id(http, "a")
        await generation_id(http, "b")
        answer = (await http.get("/_control/calls", params={"since": 1, "operation": "start_generation"})).json()
        assert [call["ticket_id"] for call in answer["calls"]] == ["b"]
        assert answer["received"] == 2
        starts = (await http.get("/_control/starts")).json()
        assert starts["a"] == {"posts": 1, "request_ids": [work]}
        assert (await http.get("/_control/starts", params={"operation": "start_pipeline"})).json() == {}
        assert (await http.get("/_control/calls", params={"operation": "x"})).status_code == 422
        assert (await http.get("/_control/calls", params={"since": "x"})).status_code == 422
        assert (await http.delete("/_control/calls")).status_code == 204
        assert (await http.get("/_control/calls")).json() == {"calls": [], "received": 2}

    async def test_is_spared_by_outages_tokens_and_the_log(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        forge.change(down=True, token="secret", latency=60, faults=(Fault.hangs(times=None),))
        assert (await http.post("/_control/behaviour", json={"down": False})).status_code == 200
        assert list(forge.log) == []


class TestServer:
    async def test_outage_refuses_and_ends_on_the_same_port(
        self, forge: CodeForgeServer, http: httpx.AsyncClient
    ) -> None:
        url, work = forge.url, await generation_id(http)
        await forge.stop()
        await forge.stop()
        async with httpx.AsyncClient(base_url=url) as newcomer:
            with pytest.raises(httpx.ConnectError):
                await read_generation(newcomer, work)
        with pytest.raises(httpx.TransportError):
            await read_generation(http, work)
        await forge.start()
        await forge.start()
        assert forge.url == url
        assert (await read_generation(http, work)).status_code == 200
        assert len(forge.log) == 2

    async def test_outage_cuts_off_calls_that_wait(
        self, forge: CodeForgeServer, http: httpx.AsyncClient, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        forge.change(latency=60, faults=(Fault.hangs(),))
        waiting = [asyncio.create_task(generate(http))]
        await clock.until_someone_sleeps()
        clock.advance(60)
        await forge.log.wait_until(lambda log: any(call.fault == FaultKind.HANG for call in log))
        waiting.append(asyncio.create_task(generate(http)))
        await clock.until_someone_sleeps()
        await forge.stop()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(answer, httpx.ReadError | httpx.RemoteProtocolError) for answer in answers)
        assert caplog.records == []

    async def test_port_in_use_is_an_os_error(self) -> None:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with taken:
            port = taken.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match="in use"):
                await CodeForgeServer(port=port).start()

    async def test_many_callers_at_once(self, forge: CodeForgeServer, http: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(generate(http, f"t-{n}", headers=key(f"t-{n}")) for n in range(200)))
        assert {answer.status_code for answer in answers} == {202}
        assert forge.log.works_created == 200

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_runs_as_a_process_of_its_own(self, number: signal.Signals) -> None:
        async with module("--port", "0", "--behaviour", '{"token": "secret"}') as process:
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await generate(http)).status_code == 401
                assert (await http.post("/_control/behaviour", json={"token": None})).status_code == 200
                assert (await generate(http)).status_code == 202
                process.send_signal(number)
                _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")

    async def test_process_says_why_it_cannot_start(self) -> None:
        async with module("--behaviour", '{"dwon": true}') as process:
            _, errors = await process.communicate()
        assert (process.returncode, b"dwon" in errors) == (2, True)

        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with taken, module("--port", str(taken.sockets[0].getsockname()[1])) as process:
            _, errors = await process.communicate()
        assert (process.returncode, b"cannot listen on" in errors) == (1, True)


@asynccontextmanager
async def module(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker_agents.devkit.code_forge",
        *arguments,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
