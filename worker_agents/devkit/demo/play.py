"""The demo from its beginning to its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from worker_agents.devkit.demo.cast import cast
from worker_agents.devkit.demo.epilogue import show_endings, show_how_to_go_on, show_where_to_look
from worker_agents.devkit.demo.programs import Programs
from worker_agents.devkit.demo.screen import Screen
from worker_agents.devkit.demo.stage import DemoFailed, Stage, stage
from worker_agents.devkit.demo.story import Story
from worker_agents.devkit.embedded_kafka import EmbeddedKafkaError
from worker_agents.kafka.reader import TopicReader
from worker_agents.kafka.submitter import TicketSubmitter
from worker_agents.kafka.topics import TopicNames, Topics
from worker_agents.model.clock import SystemClock
from worker_agents.model.errors import WorkerAgentsError

DONE, FAILED, INTERRUPTED = 0, 1, 130

_PLAY_SECONDS = 90.0


def run_demo(*, keep: bool, programs: Programs | None = None) -> int:
    """Run the demo and return its exit code: 0 as it should, 1 otherwise, 130 interrupted.

    ``keep`` leaves everything up until Ctrl-C, which then is no interruption but the end. ``programs`` are those that
    are installed, where not given.
    """
    screen = Screen()
    try:
        return asyncio.run(_ended_by_sigterm(_demo(screen, programs or Programs.installed(), keep=keep)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.line("interrupted; everything was stopped")
        return INTERRUPTED
    except (DemoFailed, EmbeddedKafkaError, WorkerAgentsError) as error:
        screen.line(f"the demo failed: {error}", style="bold red")
        return FAILED


async def _ended_by_sigterm(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM ends it as Ctrl-C does: with everything that was started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def _demo(screen: Screen, programs: Programs, *, keep: bool) -> int:
    async with stage(programs, screen.step) as built:
        story, problems = await played(built, screen)
        seconds = screen.seconds
        show_endings(screen, story, problems)
        await show_where_to_look(screen, built, story)
        if keep:
            await _stay(screen, built)
        else:
            screen.line("to look for yourself, and to send tickets of your own: worker-agents demo --keep")
        problems += await _drain(screen, built)
    screen.line()
    if problems:
        screen.line(f"the demo failed after {seconds:.0f} s: not everything became what it should be", "bold red")
        return FAILED
    screen.line(
        f"the demo is done: all {len(story.told)} tickets became what they should be, in {screen.seconds:.0f} s"
    )
    return DONE


# --- the play --------------------------------------------------------------------------------------------------------


async def played(built: Stage, screen: Screen) -> tuple[Story, list[str]]:
    """What became of all tickets, once they are settled or the time is over, and what is not as it should be."""
    story = Story(built.settings, secret=built.planted_key)
    await _play(built, story, screen)
    return story, await _settled_story(built, story)


async def _play(built: Stage, story: Story, screen: Screen) -> None:
    """Send all tickets and watch until the worker has settled them, or the time is over."""
    async with TopicReader(built.connection, await _partitions(built)) as reader:
        await reader.to_beginning()
        await _send(built, story, screen)
        with screen.live(story):
            watching = asyncio.create_task(_watch(reader, story, screen), name="watching")
            guarding = asyncio.create_task(built.watch_worker(), name="guarding")
            try:
                await asyncio.wait([watching, guarding], timeout=_PLAY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in (watching, guarding):
                    if task.done():
                        task.result()
            finally:
                for task in (watching, guarding):
                    task.cancel()
                await asyncio.gather(watching, guarding, return_exceptions=True)


async def _partitions(built: Stage) -> dict[str, int]:
    """Partitions of the topics that tell what becomes of tickets."""
    settings = built.settings
    names = TopicNames(
        settings.kafka_tickets_topic, settings.kafka_results_topic, settings.kafka_dlq_topic, settings.kafka_state_topic
    )
    layout = await Topics(built.connection, names, SystemClock(), lambda _: None).describe(connect_timeout=10)
    return {name: layout[name].partitions for name in (names.results, names.dlq, names.state)}


async def _send(built: Stage, story: Story, screen: Screen) -> None:
    clock = SystemClock()
    topic = built.settings.kafka_tickets_topic
    async with TicketSubmitter(built.connection, topic) as submitter:
        for part in cast(built.services.missing):
            story.sent(part, await submitter.submit(part.value, part.key.encode()), clock.now_ms())
    screen.step(f"sent {len(story.told)} tickets to {topic}")


async def _watch(reader: TopicReader, story: Story, screen: Screen) -> None:
    screen.update(story)
    async for record in reader.following():
        story.apply(record)
        screen.update(story)
        if story.is_over:
            return


async def _settled_story(built: Stage, story: Story) -> list[str]:
    """Read the answers once more as a whole - nothing may come twice - and tell what is wrong."""
    partitions = await _partitions(built)
    story.forget_answers()
    async with TopicReader(built.connection, partitions) as reader:
        await reader.to_beginning()
        async for record in reader.existing():
            story.apply(record)
    problems = [f"{told.part.name}: {problem}" for told in story.told for problem in story.differences(told)]
    problems += [f"{told.part.name}: {len(told.results)} results" for told in story.told if len(told.results) > 1]
    problems += _begun_twice(built)
    return problems if story.is_over else [*problems, f"not everything was settled within {_PLAY_SECONDS:.0f} s"]


def _begun_twice(built: Stage) -> list[str]:
    """Remote work that was begun more than once for one ticket."""
    forge = {name: len(each.request_ids) for name, each in built.services.forge.log.starts_by_ticket().items()}
    argocd = {name: each.begun for name, each in built.services.argocd.log.syncs_by_ticket().items()}
    return [
        f"{name}: {service} began it {times} times"
        for service, begun in (("Code Forge", forge), ("Argo CD", argocd))
        for name, times in begun.items()
        if times > 1
    ]


# --- the end ---------------------------------------------------------------------------------------------------------


async def _stay(screen: Screen, built: Stage) -> None:
    """Until Ctrl-C or SIGTERM, or until the worker ends."""
    # Before anything is said: whoever reads it may press Ctrl-C at once.
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    show_how_to_go_on(screen, built)
    waiting, guarding = asyncio.create_task(ended.wait()), asyncio.create_task(built.watch_worker())
    try:
        await asyncio.wait([waiting, guarding], return_when=asyncio.FIRST_COMPLETED)
        if guarding.done():
            guarding.result()
    finally:
        for task in (waiting, guarding):
            task.cancel()
        await asyncio.gather(waiting, guarding, return_exceptions=True)


async def _drain(screen: Screen, built: Stage) -> list[str]:
    code = await built.drain_worker()
    if code == 0:
        screen.step("the worker drained and ended")
        return []
    problem = f"the worker was told to stop and ended with {code}{built.log_tail()}"
    screen.line(f"not as it should be: {problem}", style="bold red")
    return [problem]
