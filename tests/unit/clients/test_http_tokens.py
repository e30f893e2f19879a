"""Tokens that are replaced while the worker runs, and what a 401 leads to."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import respx
from pydantic import SecretStr

from worker_agents.clients.http import Answer, Call, HttpClient
from worker_agents.clients.http_tokens import MAX_TOKEN_FILE_BYTES, FileToken, FixedToken, TokenSource, VaultToken
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import CredentialsUnavailable, IntegrationRejected, IntegrationUnavailable, LeaseLost
from worker_agents.telemetry.events import Event, ExternalCall

URL = "http://service.test"
START = Call("start", "POST", "/thing", body={})


class Vault:
    """As the real client: remembers what it read until it is told to forget, and reads once for all who ask together."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.readings = 0
        self._kept: str | None = None
        self._reading = asyncio.Lock()

    async def get_secret(self, path: str, key: str) -> str:
        assert (path, key) == ("argocd", "token")
        async with self._reading:
            if self._kept is None:
                await asyncio.sleep(0)
                self.readings += 1
                self._kept = self.token
            return self._kept

    def forget(self, path: str) -> None:
        assert path == "argocd"
        self._kept = None


def accepts(right: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        is_right = request.headers.get("Authorization") == f"Bearer {right}"
        return httpx.Response(200, json={}) if is_right else httpx.Response(401, json={"detail": "expired"})

    return answer


@asynccontextmanager
async def client(token: TokenSource | SecretStr | None) -> AsyncIterator[tuple[HttpClient, list[Event]]]:
    events: list[Event] = []
    http = HttpClient(URL, integration="service", emit=events.append, token=token, clock=VirtualClock())
    yield http, events
    await http.aclose()


def sent_tokens(route: respx.Route) -> list[str]:
    return [call.request.headers.get("Authorization", "").removeprefix("Bearer ") for call in route.calls]


@respx.mock
async def test_a_token_that_was_replaced_is_tried_once_even_for_a_start_without_a_key() -> None:
    vault = Vault("old")
    async with client(VaultToken(vault, "argocd", "token")) as (http, events):
        route = respx.post(f"{URL}/thing").mock(side_effect=accepts("new"))
        assert await vault.get_secret("argocd", "token") == "old"
        vault.token = "new"

        await http.send(START, Answer.json_object)
        await http.send(START, Answer.json_object)

        assert sent_tokens(route) == ["old", "new", "new"]
        outcomes = [event.outcome for event in events if isinstance(event, ExternalCall)]
        assert outcomes == ["rejected", "ok", "ok"]


@respx.mock
async def test_a_new_token_that_is_refused_too_is_a_refusal() -> None:
    vault = Vault("old")
    async with client(VaultToken(vault, "argocd", "token")) as (http, _):
        route = respx.post(f"{URL}/thing").mock(side_effect=accepts("other"))
        await vault.get_secret("argocd", "token")
        vault.token = "new"

        with pytest.raises(IntegrationRejected, match="HTTP 401: expired"):
            await http.send(START, Answer.json_object)

        assert sent_tokens(route) == ["old", "new"]


@respx.mock
@pytest.mark.parametrize(
    "token", [SecretStr("same"), FixedToken(SecretStr("same")), VaultToken(Vault("same"), "argocd", "token")]
)
async def test_a_token_that_stays_the_same_is_not_tried_again(token: TokenSource | SecretStr) -> None:
    async with client(token) as (http, _):
        route = respx.post(f"{URL}/thing").mock(side_effect=accepts("other"))

        with pytest.raises(IntegrationRejected):
            await http.send(START, Answer.json_object)

        assert sent_tokens(route) == ["same"]


@respx.mock
async def test_403_asks_for_no_other_token() -> None:
    vault = Vault("old")
    async with client(VaultToken(vault, "argocd", "token")) as (http, _):
        route = respx.post(f"{URL}/thing").mock(return_value=httpx.Response(403))
        await vault.get_secret("argocd", "token")
        vault.token = "new"

        with pytest.raises(IntegrationRejected):
            await http.send(START, Answer.json_object)

        assert sent_tokens(route) == ["old"]


@respx.mock
async def test_calls_that_are_refused_together_read_the_secret_once() -> None:
    vault = Vault("old")
    async with client(VaultToken(vault, "argocd", "token")) as (http, _):
        all_sent = asyncio.Barrier(50)

        async def together(request: httpx.Request) -> httpx.Response:
            if request.headers["Authorization"] == "Bearer old":
                await all_sent.wait()
            return accepts("new")(request)

        respx.post(f"{URL}/thing").mock(side_effect=together)
        await vault.get_secret("argocd", "token")
        vault.token = "new"

        await asyncio.gather(*(http.send(START, Answer.json_object) for _ in range(50)))

        assert vault.readings == 2


@respx.mock
async def test_a_start_is_repeated_with_a_new_token_only_by_who_may_still_start() -> None:
    def refuse() -> None:
        raise LeaseLost("stale")

    vault = Vault("old")
    async with client(VaultToken(vault, "argocd", "token")) as (http, _):
        route = respx.post(f"{URL}/thing").mock(side_effect=accepts("new"))
        await vault.get_secret("argocd", "token")
        vault.token = "new"

        with pytest.raises(LeaseLost):
            await http.send(Call("start", "POST", "/thing", before_repeat=refuse), Answer.json_object)

        assert sent_tokens(route) == ["old"]


@respx.mock
@pytest.mark.parametrize("token", ["s3cret\nX-Evil: 1", "s3crét", " s3cret", "s3cret\x00"])
async def test_a_token_that_no_header_can_hold_is_refused_without_repeating_it(token: str) -> None:
    async with client(SecretStr(token)) as (http, _):
        route = respx.post(f"{URL}/thing").mock(return_value=httpx.Response(200, json={}))

        with pytest.raises(IntegrationRejected, match="service: the token has") as raised:
            await http.send(START, Answer.json_object)

        assert "s3cr" not in str(raised.value)
        assert route.call_count == 0


@respx.mock
@pytest.mark.parametrize("token", [None, SecretStr("")])
async def test_without_a_token_no_header_is_sent(token: SecretStr | None) -> None:
    async with client(token) as (http, _):
        route = respx.post(f"{URL}/thing").mock(return_value=httpx.Response(200, json={}))

        await http.send(START, Answer.json_object)

        assert "Authorization" not in route.calls.last.request.headers


def replace(file: Path, token: str) -> None:
    """As kubelet does: a new file takes the name."""
    new = file.with_suffix(".new")
    new.write_text(token)
    new.rename(file)


async def test_a_file_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    source = FileToken(file)
    assert await source.current() == "first"

    replace(file, "second\n")

    assert await source.current() == "second"


async def test_a_file_that_was_overwritten_within_one_tick_is_read_again_after_a_401(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    source = FileToken(file)
    await source.current()
    before = file.stat()
    file.write_text("again")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await source.current() == "first"

    await source.renew("first")

    assert await source.current() == "again"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"x" * (MAX_TOKEN_FILE_BYTES + 1)])
async def test_a_file_without_a_token_keeps_the_last_one_or_says_so(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IntegrationUnavailable, match="no token in the file"):
        await FileToken(file).current()

    file.write_text("good")
    source = FileToken(file)
    await source.current()
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    assert await source.current() == "good"


async def test_a_token_that_cannot_be_read_is_no_outage_of_the_service(tmp_path: Path) -> None:
    """An outage may be answered with a simulated result; this must not be."""
    async with client(FileToken(tmp_path / "absent")) as (http, events):
        with pytest.raises(CredentialsUnavailable, match="the token for service: no token in the file") as raised:
            await http.send(START, Answer.json_object)

    assert not isinstance(raised.value, IntegrationUnavailable)
    assert raised.value.retryable
    assert events == [], "nothing was sent"
