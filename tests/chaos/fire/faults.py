"""Every kind of fault: what is done, to whom, for how long.

To add one, write a coroutine with the decorator. It gets the :class:`Scene` and a random source of its own, does its harm,
waits, and mends it again; what it returns is noted beside its kind. ``area`` says which faults exclude each other:
two of one area are never on at once, unless its ``AREAS`` allows more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fire.load import Load, poison
from tests.chaos.fire.opa import Opa
from tests.chaos.fire.world import SERVICES, SESSION_SECONDS, STALL_SECONDS, World
from worker_agents.devkit import argocd, code_forge
from worker_agents.devkit.argocd import ArgoCdServer
from worker_agents.devkit.code_forge import CodeForgeServer


@dataclass
class Scene:
    """What a fault may touch."""

    world: World
    load: Load


Harm = Callable[[Scene, random.Random], Awaitable[str]]

AREAS = {"worker": 2, "broker": 1, "link": 2, "service": 1, "load": 1}
"""How many faults of an area may be on at once."""

KINDS: dict[str, tuple[str, Harm]] = {}
"""Kind: area and what it does."""


def fault(area: str) -> Callable[[Harm], Harm]:
    def register(harm: Harm) -> Harm:
        KINDS[harm.__name__] = (area, harm)
        return harm

    return register


def possible(world: World) -> list[str]:
    """The kinds that can be done here."""
    impossible = set()
    if world.cluster.replicas == 1:
        impossible.add("leader_moved")
    if not world.can_fill_disk:
        impossible.add("disk_full")
    return sorted(set(KINDS) - impossible)


# --- workers ---------------------------------------------------------------------------------------------------------


@fault("worker")
async def sigkill(scene: Scene, rng: random.Random) -> str:
    async with scene.world.some_slot(rng) as (_, worker):
        worker.kill()
    return worker.name


@fault("worker")
async def sigstop(scene: Scene, rng: random.Random) -> str:
    """The worker and all its processes, as when a virtual machine is paused; mostly beyond the session time-out."""
    async with scene.world.some_slot(rng) as (_, worker):
        tree = scene.world.process_tree(worker.pid)
        seconds = rng.uniform(SESSION_SECONDS / 2, SESSION_SECONDS * 2.5)
        _signal(tree, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _signal(reversed(tree), signal.SIGCONT)
    return f"{worker.name} for {seconds:.1f} s"


@fault("worker")
async def sigterm(scene: Scene, rng: random.Random) -> str:
    """With a drain time-out of 2 s: the long tasks are handed over."""
    async with scene.world.some_slot(rng, started=True) as (_, worker):
        await scene.world.terminate(worker)
    return worker.name


@fault("worker")
async def loop_stalled(scene: Scene, rng: random.Random) -> str:
    async with scene.world.some_slot(rng, started=True) as (_, worker):
        worker.send(signal.SIGUSR2)
        await asyncio.sleep(STALL_SECONDS)
    return worker.name


@fault("worker")
async def worker_removed(scene: Scene, rng: random.Random) -> str:
    """And, after a while, one added again."""
    async with scene.world.some_slot(rng) as (slot, worker):
        slot.wanted = False
        await scene.world.terminate(worker)
        await asyncio.sleep(rng.uniform(5, 15))
        slot.wanted = True
    return worker.name


@fault("worker")
async def all_workers_killed(scene: Scene, rng: random.Random) -> str:  # noqa: ARG001
    victims = [slot.worker for slot in scene.world.slots if slot.worker is not None and not slot.busy]
    for worker in victims:
        worker.kill()
    return ", ".join(worker.name for worker in victims)


# --- brokers ---------------------------------------------------------------------------------------------------------


@fault("broker")
async def broker_killed(scene: Scene, rng: random.Random) -> str:
    broker = rng.choice(scene.world.cluster.brokers)
    await broker.kill()
    await asyncio.sleep(rng.uniform(0, 8))
    await broker.start_again()
    return broker.bootstrap_servers


@fault("broker")
async def broker_restarted(scene: Scene, rng: random.Random) -> str:
    broker = rng.choice(scene.world.cluster.brokers)
    await broker.restart()
    return broker.bootstrap_servers


@fault("broker")
async def broker_frozen(scene: Scene, rng: random.Random) -> str:
    broker = rng.choice(scene.world.cluster.brokers)
    broker.pause()
    try:
        await asyncio.sleep(rng.uniform(2, 14))
    finally:
        broker.resume()
    return broker.bootstrap_servers


@fault("broker")
async def leader_moved(scene: Scene, rng: random.Random) -> str:
    return ", ".join([await scene.world.cluster.move_a_leader(rng) for _ in range(rng.randint(1, 4))])


# --- links between one worker and all brokers, or one service --------------------------------------------------------


@asynccontextmanager
async def _broker_links(
    scene: Scene, rng: random.Random, seconds: tuple[float, float], kind: str, **toxic: int
) -> AsyncIterator[str]:
    async with scene.world.some_slot(rng) as (slot, worker):
        proxies = scene.world.proxies
        harm = proxies.cut(slot.brokers) if kind == "cut" else proxies.poisoned(slot.brokers, kind, **toxic)
        async with harm:
            await asyncio.sleep(rng.uniform(*seconds))
            yield worker.name


@fault("link")
async def broker_link_cut(scene: Scene, rng: random.Random) -> str:
    async with _broker_links(scene, rng, (1, 20), "cut") as victim:
        return victim


@fault("link")
async def broker_link_silent(scene: Scene, rng: random.Random) -> str:
    """Connections stay, and nothing comes through: what the network does that drops packets."""
    async with _broker_links(scene, rng, (2, 25), "timeout", timeout=0) as victim:
        return victim


@fault("link")
async def broker_link_slow(scene: Scene, rng: random.Random) -> str:
    async with _broker_links(scene, rng, (5, 15), "latency", latency=rng.randint(100, 1500), jitter=100) as victim:
        return victim


@fault("link")
async def broker_link_reset(scene: Scene, rng: random.Random) -> str:
    async with _broker_links(scene, rng, (1, 4), "reset_peer", timeout=rng.randint(0, 500)) as victim:
        return victim


@asynccontextmanager
async def _service_link(
    scene: Scene, rng: random.Random, seconds: tuple[float, float], kind: str, **toxic: int
) -> AsyncIterator[str]:
    async with scene.world.some_slot(rng) as (slot, worker):
        name = rng.choice(SERVICES)
        links, proxies = [slot.services[name]], scene.world.proxies
        harm = proxies.cut(links) if kind == "cut" else proxies.poisoned(links, kind, **toxic)
        async with harm:
            await asyncio.sleep(rng.uniform(*seconds))
            yield f"{worker.name} to {name}"


@fault("link")
async def service_link_cut(scene: Scene, rng: random.Random) -> str:
    async with _service_link(scene, rng, (2, 20), "cut") as victim:
        return victim


@fault("link")
async def service_link_silent(scene: Scene, rng: random.Random) -> str:
    async with _service_link(scene, rng, (2, 20), "timeout", timeout=0) as victim:
        return victim


@fault("link")
async def service_link_slow(scene: Scene, rng: random.Random) -> str:
    async with _service_link(scene, rng, (5, 20), "latency", latency=rng.randint(500, 4000), jitter=300) as victim:
        return victim


@fault("link")
async def service_link_reset(scene: Scene, rng: random.Random) -> str:
    async with _service_link(scene, rng, (1, 8), "reset_peer", timeout=rng.randint(0, 500)) as victim:
        return victim


# --- services, for all workers ---------------------------------------------------------------------------------------


@fault("service")
async def service_down(scene: Scene, rng: random.Random) -> str:
    world, name = scene.world, rng.choice(SERVICES)
    services: dict[str, CodeForgeServer | ArgoCdServer | Opa] = {
        "code_forge": world.forge,
        "argocd": world.argocd,
        "opa": world.opa,
    }
    service = services[name]
    await service.stop()
    await asyncio.sleep(rng.uniform(2, 15))
    await service.start()
    return name


@fault("service")
async def service_slow(scene: Scene, rng: random.Random) -> str:
    world, name, latency = scene.world, rng.choice(SERVICES), rng.uniform(0.5, 6)
    if name == "opa":
        world.opa.freeze()
        await asyncio.sleep(latency)
        world.opa.thaw()
        return name
    server = world.forge if name == "code_forge" else world.argocd
    server.change(latency=latency)
    await asyncio.sleep(rng.uniform(5, 15))
    server.change(latency=0.0)
    return f"{name} by {latency:.1f} s"


@fault("service")
async def service_talks_nonsense(scene: Scene, rng: random.Random) -> str:
    """Code Forge and Argo CD do the work and answer with a web page; in OPA's place something else answers."""
    world, name, seconds = scene.world, rng.choice(SERVICES), rng.uniform(1, 8)
    if name == "opa":
        links = [slot.services["opa"] for slot in world.slots]
        async with world.proxies.led_to(links, world.nonsense_address):
            await asyncio.sleep(seconds)
    elif name == "code_forge":
        world.forge.change(faults=(code_forge.Fault.nonsense(times=None),))
        await asyncio.sleep(seconds)
        world.forge.change(faults=())
    else:
        world.argocd.change(faults=(argocd.Fault.nonsense(times=None),))
        await asyncio.sleep(seconds)
        world.argocd.change(faults=())
    return name


@fault("service")
async def service_loses_answers(scene: Scene, rng: random.Random) -> str:
    """The work is begun, and nobody is told."""
    world, name = scene.world, rng.choice(SERVICES[:2])
    if name == "code_forge":
        world.forge.change(faults=(code_forge.Fault.loses_answer(times=rng.randint(5, 30)),))
    else:
        world.argocd.change(faults=(argocd.Fault.loses_answer(times=rng.randint(5, 30)),))
    await asyncio.sleep(rng.uniform(2, 8))
    (world.forge if name == "code_forge" else world.argocd).change(faults=())
    return name


# --- what comes in, and the disk -------------------------------------------------------------------------------------


@fault("load")
async def tickets_sent_again(scene: Scene, rng: random.Random) -> str:
    count = rng.randint(20, 80)
    await scene.load.send_again(rng, count)
    return f"{count} tickets"


@fault("load")
async def poison_sent(scene: Scene, rng: random.Random) -> str:
    ticket = poison(rng, rng.randrange(10**9))
    await scene.load.send(ticket)
    return ticket.ticket_id


@fault("load")
async def disk_full(scene: Scene, rng: random.Random) -> str:
    """The disk that test programs write to."""
    ballast = scene.world.scratch / "ballast"
    await asyncio.to_thread(_fill, ballast)
    try:
        await asyncio.sleep(rng.uniform(5, 15))
    finally:
        ballast.unlink()
    return "scratch"


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
