"""What the demo shows when its tickets are settled: what became of them, where to look, and how to go on."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker_agents.devkit.demo.screen import Screen
from worker_agents.devkit.demo.stage import Stage
from worker_agents.devkit.demo.story import Story, Told

_METRICS = (
    "worker_agents_tasks_executed_total{",
    "worker_agents_task_retries_total{",
    "worker_agents_fallbacks_total{",
    "worker_agents_duplicates_total{",
    "worker_agents_dead_letters_total{",
    "worker_agents_ledger_transactions_total ",
)
_COMMANDS = (
    "tickets --follow",
    "results",
    "dlq list",
    "submit --sample execute --wait",
    "submit --sample build --wait",
    "submit --sample validate-policy --wait",
    "submit --sample validate-sast --wait",
    "submit --sample test --wait",
    "submit --sample deploy --wait",
    "submit --type EXECUTE --param template_id=down --wait     # also: flaky, fail, slow, rejected, lost-answer",
)


def show_endings(screen: Screen, story: Story, problems: Sequence[str]) -> None:
    screen.heading("What became of each")
    screen.endings(story)
    for problem in problems:
        screen.line(f"not as it should be: {problem}", style="bold red")


async def show_where_to_look(screen: Screen, built: Stage, story: Story) -> None:
    settings = built.settings
    screen.heading("Where to look next")
    screen.line(f"results, topic {settings.kafka_results_topic}:")
    for told in story.told:
        for line in _findings(told):
            screen.line(f"    {told.part.name}: {line}")
    _show_letters(screen, settings.kafka_dlq_topic, story)
    _show_services(screen, built)
    screen.line(f"metrics, {built.url}/metrics:")
    for line in await built.metrics():
        if line.startswith(_METRICS) and not line.endswith(" 0.0"):
            screen.line(f"    {line}")


def _findings(told: Told) -> Iterator[str]:
    """What a result says beyond its status, where that is worth a line."""
    output = told.output
    if told.is_simulated:
        yield f"simulated=true, {_cause(told)}"
        return
    if told.part.name == "demo-build":
        yield "built " + ", ".join(f"{each['type']} {each['name']}" for each in output.get("artifacts", ()))
    for each in output.get("violations", ()):
        place = each["location"] or each["resource"]
        yield f"{each['severity']} {each['rule_id']}, {place}: {each['message']}"
    for each in output.get("failures", ()):
        yield f"{each['name']}: {each['message'].partition(chr(10))[0]}"
    if told.part.name == "demo-deploy":
        yield f"{output.get('deployment_id')} is {output.get('sync_status')} and {output.get('status')}"


def _cause(told: Told) -> str:
    """Why it is simulated: what the executor logged before it said that it simulates."""
    assert told.result is not None
    logs = told.result["result"]["logs"]
    return str(logs[-2] if len(logs) > 1 else told.fallback_reason)


def _show_letters(screen: Screen, topic: str, story: Story) -> None:
    for told in story.told:
        for letter in told.letters:
            screen.line(f"dead letters, topic {topic}: {told.part.name} lies at {letter.partition}-{letter.offset}")
            screen.line(f"    {told.reason}: {letter.header('__dlq.errors.message')}")


def _show_services(screen: Screen, built: Stage) -> None:
    forge, argocd = built.services.forge, built.services.argocd
    starts = forge.log.starts_by_ticket().values()
    posts, begun = sum(each.posts for each in starts), sum(len(each.request_ids) for each in starts)
    screen.line(f"Code Forge, {forge.url}: {posts} calls to start work, {begun} begun")
    syncs = argocd.log.syncs_by_ticket().values()
    screen.line(
        f"Argo CD, {argocd.url}: {sum(each.posts for each in syncs)} calls to start a sync, "
        f"{sum(each.begun for each in syncs)} begun"
    )


def show_how_to_go_on(screen: Screen, built: Stage) -> None:
    """What to type in another terminal while everything stays up."""
    program = _program()
    screen.heading("Everything stays up until Ctrl-C.")
    screen.line(f"The status page: {built.url}/")
    screen.line(f"To act there, sign in with {built.environment['ADMIN_TOKEN']}")
    screen.line("In another terminal:")
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "CODE_FORGE_URL"):
        screen.line(f"    export {name}={built.environment[name]}")
    for command in _COMMANDS:
        screen.line(f"    {program} {command}")
    screen.line(f"    {program} status --url {built.url}")
    screen.line(f"    curl {built.url}/metrics")
    screen.line(f"    tail -f {built.log}")


def _program() -> str:
    """How to call the command line from another terminal."""
    if shutil.which("worker-agents"):
        return "worker-agents"
    path = Path(sys.executable).with_name("worker-agents")
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
