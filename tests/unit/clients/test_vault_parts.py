"""The parts of Vault's client that need no Vault: threads, shared flights, and the mapping of foreign errors."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests.exceptions
from hvac import exceptions

from worker_agents.clients.vault.flights import SingleFlight
from worker_agents.clients.vault.kv import Secret
from worker_agents.clients.vault.threads import CallThreads
from worker_agents.clients.vault.troubles import FORBIDDEN, FOREIGN, CallFailed, trouble_of
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

TOKEN = "hvs.s3cr3t-t0ken"


# --- threads -----------------------------------------------------------------------------------------------------


async def test_a_call_runs_outside_the_loop_and_its_outcome_comes_back() -> None:
    threads = CallThreads(1)

    def fail() -> None:
        raise KeyError("k")

    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(KeyError):
        await threads.run(fail)
    assert await threads.run(lambda: None) is None


async def test_no_more_calls_than_places_and_one_that_hangs_keeps_only_its_own() -> None:
    threads, released = CallThreads(2), threading.Event()
    running = 0
    most = 0

    def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        running -= 1

    hanging = asyncio.create_task(threads.run(released.wait))
    await asyncio.gather(*(threads.run(count) for _ in range(20)))
    assert most == 1
    assert not hanging.done()
    released.set()
    assert await hanging is True


async def test_a_call_that_is_given_up_keeps_its_place_until_it_ends() -> None:
    threads, released = CallThreads(1), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await threads.run(released.wait)
    assert threads._places.locked()
    waiting = asyncio.create_task(threads.run(lambda: "mine"))
    await asyncio.sleep(0)
    assert not waiting.done()
    released.set()
    assert await waiting == "mine"


async def test_a_hanging_call_is_in_a_daemon_so_that_the_process_can_end() -> None:
    assert await CallThreads(1).run(lambda: threading.current_thread().daemon)


# --- shared flights ----------------------------------------------------------------------------------------------


async def test_those_who_ask_together_share_one_flight_and_later_ones_begin_another() -> None:
    flights: SingleFlight[str] = SingleFlight()
    begun: list[str] = []
    land = asyncio.Event()

    def begin(key: str) -> Callable[[], Any]:
        async def fly() -> str:
            begun.append(key)
            await land.wait()
            return key

        return fly

    together = [asyncio.create_task(flights.share(key, begin(key))) for key in "aab"]
    await asyncio.sleep(0)
    land.set()
    assert await asyncio.gather(*together) == ["a", "a", "b"]
    assert begun == ["a", "b"]
    assert await flights.share("a", begin("a")) == "a"
    assert begun == ["a", "b", "a"]


async def test_a_failure_is_shared_and_not_kept() -> None:
    flights: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        raise CallFailed(FORBIDDEN)

    outcomes = await asyncio.gather(*(flights.share("a", fail) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, CallFailed) for outcome in outcomes)

    async def succeed() -> int:
        return 1

    assert await flights.share("a", succeed) == 1


async def test_one_who_is_cancelled_leaves_the_flight_to_the_others() -> None:
    flights: SingleFlight[str] = SingleFlight()
    land = asyncio.Event()

    async def fly() -> str:
        await land.wait()
        return "landed"

    first, second = (asyncio.create_task(flights.share("a", fly)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    land.set()
    assert await second == "landed"


async def test_closing_ends_what_is_under_way() -> None:
    flights: SingleFlight[bool] = SingleFlight()
    waiting = asyncio.create_task(flights.share("a", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await flights.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- foreign errors ------------------------------------------------------------------------------------------------


def status(code: int, **more: Any) -> Exception:
    url = f"http://vault/v1/secret?token={TOKEN}"
    error: Exception = exceptions.VaultError.from_status(code, TOKEN, method="get", url=url, text=TOKEN, **more)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "is_repeated", "words"),
    [
        (status(400, errors=[f"bad {TOKEN}"]), IntegrationRejected, False, "HTTP 400"),
        (status(400, errors=['invalid role name "x"']), IntegrationRejected, False, "there is no such role"),
        (status(401), IntegrationRejected, False, "HTTP 401"),
        (status(403), IntegrationRejected, False, "forbidden"),
        (status(404, json={"errors": []}), IntegrationRejected, False, "there is no such secret"),
        (status(404, json=[1]), IntegrationRejected, False, "there is no such secret"),
        (status(412), IntegrationUnavailable, True, "unexpected status"),
        (status(429), IntegrationUnavailable, True, "rate limit"),
        (status(500), IntegrationUnavailable, True, "internal error"),
        (status(501), IntegrationUnavailable, False, "not initialised"),
        (status(502), IntegrationUnavailable, True, "bad gateway"),
        (status(503), IntegrationUnavailable, True, "sealed"),
        (exceptions.ParamValidationError(TOKEN), IntegrationRejected, False, "cannot be sent"),
        (requests.exceptions.ConnectionError(TOKEN), IntegrationUnavailable, True, "no connection"),
        (requests.exceptions.ConnectTimeout(TOKEN), IntegrationUnavailable, True, "no connection in time"),
        (requests.exceptions.ReadTimeout(TOKEN), IntegrationUnavailable, True, "no answer in time"),
        (requests.exceptions.SSLError(TOKEN), IntegrationUnavailable, False, "TLS failure"),
        (requests.exceptions.TooManyRedirects(TOKEN), IntegrationUnavailable, False, "circles"),
        (requests.exceptions.ChunkedEncodingError(TOKEN), IntegrationUnavailable, True, "no connection"),
        (AttributeError(TOKEN), IntegrationUnavailable, True, "none of Vault's"),
        (TypeError(TOKEN), IntegrationUnavailable, True, "none of Vault's"),
    ],
)
def test_each_foreign_error_becomes_one_of_ours_without_its_words(
    error: Exception, kind: type[Exception], is_repeated: bool, words: str
) -> None:
    assert isinstance(error, FOREIGN)
    trouble = trouble_of(error)
    ours = CallFailed(trouble).error("vault: reading a#b")
    assert type(ours) is kind
    assert bool(trouble.repeats) is is_repeated
    assert words in str(ours)
    assert TOKEN not in str(ours)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"deletion_time": "2026-01-01T00:00:00Z", "destroyed": False}, "deleted"),
        ({"deletion_time": "", "destroyed": True}, "destroyed"),
        ({"deletion_time": "", "destroyed": False}, "no such secret"),
    ],
)
def test_a_version_that_is_gone_is_told_from_one_that_never_was(metadata: dict[str, Any], word: str) -> None:
    assert word in trouble_of(status(404, json={"data": {"data": None, "metadata": metadata}})).message


def test_the_certificates_that_vaults_own_tools_take_are_taken(tmp_path: Path) -> None:
    """They are read when hvac is imported, and lost when it is given a session that does not know them."""
    program = (
        "from worker_agents.clients.vault.calls import VaultConnection\n"
        "print(VaultConnection('https://vault', '', 1).client('t').adapter._kwargs['verify'])"
    )
    file = str(tmp_path / "ca.pem")
    shown = subprocess.run(
        [sys.executable, "-c", program], env={"VAULT_CACERT": file}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == file


# --- how long a secret is kept ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "seconds"),
    [
        (Secret({}), 300),
        (Secret({}, lease=60), 60),
        (Secret({}, lease=3600), 3600),
        (Secret({}, deleted_at_ms=1_000_000 + 20_000), 20),
        (Secret({}, lease=60, deleted_at_ms=1_000_000 + 90_000), 60),
        (Secret({}, deleted_at_ms=999_000), 0),
    ],
)
def test_a_secret_is_kept_for_its_lease_and_never_beyond_its_deletion(secret: Secret, seconds: float) -> None:
    assert secret.keep_seconds(300, now_ms=1_000_000) == seconds
