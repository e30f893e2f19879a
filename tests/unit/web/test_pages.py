"""The pages, as a browser is given them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import orjson
import pytest

from tests.unit.web.documents import Source, bucket, detail, integration, partition, result, status, ticket
from worker_agents.web.page import LiveFeed
from worker_agents.web.page.rendering import OVERVIEW_SECTIONS
from worker_agents.web.views import HistoryView, TimelineEntry

EVIL = "<script>alert(1)</script>\"'&{{7*7}}"


class Parsed(HTMLParser):
    """What elements there are, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def attributes(self, tag: str, name: str) -> list[str]:
        return [str(attributes[name]) for kind, attributes in self.elements if kind == tag and name in attributes]


async def test_the_front_page_says_how_the_worker_does(site: httpx.AsyncClient) -> None:
    response = await site.get("/")
    assert response.status_code == 200
    page = Parsed(response.text)
    assert "Working: 1 running; 2 tickets, oldest 1 min" in page.text
    assert re.search(r"Waiting\s+1", page.text)
    assert "dependency unavailable" in page.text
    assert "HTTP 503" in page.text
    assert set(OVERVIEW_SECTIONS) < set(page.ids())
    assert len(page.ids()) == len(set(page.ids())), "ids are unique"


async def test_simulated_results_are_told_once_in_a_banner(site: httpx.AsyncClient, source: Source) -> None:
    assert "of this worker" not in (await site.get("/")).text
    source.document = status(
        summary="Degraded: 2 results simulated in the last 15 min; 2 tickets",
        headline="Degraded: 1 running; 2 tickets",
        simulated_total=12,
        simulated_lately=2,
    )
    text = Parsed((await site.get("/")).text).text
    assert "12 results of this worker are simulated, 2 in the last 15 min: an integration was down or off" in text
    assert "Degraded: 1 running; 2 tickets" in text
    assert "results simulated" not in text


async def test_dead_letters_are_counted_and_can_be_looked_at(site: httpx.AsyncClient, source: Source) -> None:
    assert "/dead-letters" not in Parsed((await site.get("/")).text).attributes("a", "href")
    source.document = status(dead_letters_total=1_234)
    page = Parsed((await site.get("/")).text)
    assert "1,234 dead letters of this worker since it started" in page.text
    assert page.attributes("a", "href").count("/dead-letters") == 1


async def test_a_breaker_that_is_open_says_since_when_and_why(site: httpx.AsyncClient, source: Source) -> None:
    down = integration("opa", breaker="open", probe_in=12.0, last_failure="no connection", simulated=3)
    source.document = status(integrations=(down, integration("argocd", enabled=False)))
    text = Parsed((await site.get("/")).text).text
    assert re.search(r"OPA\s+open\s+1 min, asked again in 12 s", text)
    assert "no connection" in text
    assert re.search(r"argocd\s+off", text)


async def test_a_partition_that_is_not_open_says_why(site: httpx.AsyncClient, source: Source) -> None:
    closed = partition(3, phase="suspended", why_not_open="no answer from Kafka", lag=None, lease_age=None)
    source.document = status(partitions=(closed,))
    assert re.search(r"suspended\s+no answer from Kafka", Parsed((await site.get("/")).text).text)


async def test_the_last_hour_is_drawn_with_failures_on_top(site: httpx.AsyncClient, source: Source) -> None:
    buckets = [bucket() for _ in range(59)] + [bucket(completed=3, failed=1, duration_median=2.5)]
    source.document = status(history=HistoryView(bucket_seconds=60, buckets=tuple(buckets)))
    page = Parsed((await site.get("/")).text)
    assert "3 tickets completed, 1 failed" in page.text
    bars = [attributes for tag, attributes in page.elements if tag == "rect"]
    assert [(bar["class"], bar["y"], bar["height"]) for bar in bars] == [
        ("good", "15.0", "45.0"),
        ("bad", "0.0", "15.0"),
    ]


async def test_a_ticket_has_a_page_with_its_story(site: httpx.AsyncClient, source: Source) -> None:
    source.details["t-1"] = detail("t-1", trace_url="https://traces.example/0af7")
    page = Parsed((await site.get("/tickets/t-1")).text)
    assert "attempt started" in page.text
    assert "resumed no" in page.text
    assert '{"pipeline_id": "p-7"}' in page.text
    assert "compiling" in page.text
    assert "https://traces.example/0af7" in page.attributes("a", "href")


async def test_a_ticket_that_was_handed_over_says_so(site: httpx.AsyncClient, source: Source) -> None:
    source.details["t-1"] = detail("t-1", ticket=None, checkpoint=None, trace_id="")
    assert "another worker has it now" in (await site.get("/tickets/t-1")).text


async def test_an_unknown_ticket_is_404_on_a_page_of_its_own(site: httpx.AsyncClient) -> None:
    response = await site.get("/tickets/nobody")
    assert response.status_code == 404
    assert "This worker knows nothing of it" in response.text


@pytest.mark.parametrize(
    ("query", "target"), [("id=t-1", "/tickets/t-1"), ("id=a/b", "/tickets/a%2Fb"), ("id=", "/"), ("", "/")]
)
async def test_the_search_leads_to_the_ticket(site: httpx.AsyncClient, query: str, target: str) -> None:
    response = await site.get(f"/tickets?{query}")
    assert (response.status_code, response.headers["location"]) == (303, target)


async def test_text_from_outside_is_only_ever_text(site: httpx.AsyncClient, source: Source) -> None:
    evil = ticket(EVIL, task_type=EVIL, progress=EVIL, log_tail=(EVIL,), message=EVIL, reason=EVIL, waits_for=(EVIL,))
    entry = TimelineEntry(at=1, event=EVIL, details={EVIL: EVIL, "more": {EVIL: [EVIL]}})
    source.document = status(
        running=(evil,),
        waiting=(evil,),
        recent=(result(EVIL, reason=EVIL),),
        partitions=(partition(0, why_not_open=EVIL, oldest_ticket_id=EVIL),),
        integrations=(integration("opa", last_failure=EVIL),),
        summary=EVIL,
        headline=EVIL,
    )
    source.details[EVIL] = detail(EVIL, ticket=evil, checkpoint={EVIL: EVIL}, timeline=(entry,))
    for path in ("/", "/tickets/" + _quoted(EVIL), "/tickets/" + _quoted(EVIL + "?")):
        page = Parsed((await site.get(path)).text)
        assert page.attributes("script", "src") in (["/static/live.js"], [])
        assert [tag for tag, _ in page.elements].count("script") <= 1
        assert "<script>alert(1)" in page.text
        assert "{{7*7}}" in page.text, "a template is not made of what a ticket says"
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.parametrize("path", ["/", "/tickets/t-1", "/tickets/nobody", "/static/live.js", "/static/style.css"])
async def test_nothing_of_another_site_may_run_or_frame_it(site: httpx.AsyncClient, path: str) -> None:
    headers = (await site.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/static/../routes.py", "/static/%2e%2e/routes.py", "/static/", "/static/live.js/"])
async def test_only_its_own_files_are_served(site: httpx.AsyncClient, path: str) -> None:
    request = httpx.Request("GET", site.base_url.join("/"))
    request.extensions["target"] = path.encode()
    assert (await site.send(request)).status_code == 404


async def test_the_page_is_of_use_without_javascript(site: httpx.AsyncClient) -> None:
    html = (await site.get("/")).text
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in html
    assert "compiling" in html, "everything is in the page itself"


async def test_the_stream_sends_everything_once_and_then_what_changed(site: httpx.AsyncClient, source: Source) -> None:
    async with site.stream("GET", "/live") as stream, asyncio.timeout(10):
        events = _events(stream)
        assert set(await anext(events)) == set(OVERVIEW_SECTIONS)
        source.document = status(headline="Degraded: OPA breaker open 3 s")
        changed = await anext(events)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert list(changed) == ["summary"]
    assert "Degraded: OPA breaker open 3 s" in changed["summary"]


async def test_the_stream_of_a_ticket_goes_on_when_the_ticket_is_forgotten(
    site: httpx.AsyncClient, source: Source
) -> None:
    async with site.stream("GET", "/live?ticket=t-1") as stream, asyncio.timeout(10):
        lines = stream.aiter_lines()
        assert [await anext(lines), (await anext(lines))[:16]] == ["event: sections", 'data: {"ticket":']
        source.details.clear()
        assert [line async for line in _until(lines, ": nothing new")]


async def test_a_page_too_many_is_told_to_wait(site: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        opened = [await site.send(site.build_request("GET", "/live"), stream=True) for _ in range(20)]
        for stream in opened:
            await anext(stream.aiter_raw())
        refused = await site.get("/live")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        for stream in opened:
            await stream.aclose()


async def test_streams_do_not_hold_up_the_end_of_the_worker(site: httpx.AsyncClient, feed: LiveFeed) -> None:
    async with site.stream("GET", "/live") as stream, asyncio.timeout(1.5):
        lines = stream.aiter_raw()
        await anext(lines)
        feed.close()
        async for _ in lines:
            pass


async def _until(lines: AsyncIterator[str], last: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == last:
            return


async def _events(stream: httpx.Response) -> AsyncIterator[dict[str, str]]:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line.removeprefix("data: "))


def _quoted(text: str) -> str:
    return str(httpx.QueryParams({"": text}))[1:].replace("+", "%20")
