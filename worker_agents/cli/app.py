"""All commands and their options. What a command needs is imported when it runs, so that ``--help`` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker_agents.cli.exits import ExitCode, GuardedGroup
from worker_agents.cli.options import By, Everywhere, Follow, Json, Limit, Plan, Reason, TaskType, TicketId, Url

_HELP = """A Kafka worker that gives every execution ticket exactly one result.

Settings come from environment variables: [bold]worker-agents config[/bold] lists them all.
Exit codes: 0 done, 1 failed, 2 bad usage or settings, 3 Kafka not reachable, 4 not found, 5 Vault not reachable, 130 interrupted."""

app = typer.Typer(
    cls=GuardedGroup,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dlq = typer.Typer(help="Look at dead letters, and send them again.", no_args_is_help=True)
topics = typer.Typer(help="Create and describe the four topics.", no_args_is_help=True)
executors = typer.Typer(help="See which task types are served, and their parameters.", no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        from worker_agents import __version__

        print(f"worker-agents {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    del version


@app.command(rich_help_panel="Work")
def run() -> None:
    """Run a worker until SIGTERM or Ctrl-C; it then drains."""
    from worker_agents.cli.run import run_worker

    run_worker()


@app.command(rich_help_panel="Work")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, until Ctrl-C.")] = False,
) -> None:
    """Start Kafka, a worker and what it works through here, send tickets of every type, show what becomes of them."""
    from worker_agents.devkit.demo import run_demo

    raise typer.Exit(run_demo(keep=keep))


@app.command(rich_help_panel="Tickets")
def submit(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Tickets as JSON (one or a list) or JSON lines; - reads standard input."),
    ] = None,
    *,
    sample: Annotated[
        str | None,
        typer.Option("--sample", help="A sample ticket; other options change it. See: worker-agents samples."),
    ] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="Task type of one ticket made of options.")] = None,
    ticket_id: Annotated[str | None, typer.Option("--id", help="Its id; by default a new one.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter: name=text, or name:=JSON. Repeatable.")
    ] = None,
    depends_on: Annotated[
        list[str] | None, typer.Option("--depends-on", help="Id of a ticket that must be done first. Repeatable.")
    ] = None,
    priority: Annotated[str | None, typer.Option("--priority", help="LOW, NORMAL, HIGH, CRITICAL or 1 to 10.")] = None,
    plan: Annotated[str | None, typer.Option("--plan", help="Plan id; tickets of one plan share a partition.")] = None,
    max_retries: Annotated[int | None, typer.Option("--max-retries", min=0, help="Further attempts.")] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", min=0.001, help="sla.timeout_ms of the ticket, in seconds.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Record key; by default plan_id, else intent_id, else ticket_id.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Refuse tickets that no worker could read.")] = True,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the results and show them.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Longest wait for results, in seconds.")] = 300.0,
    as_json: Json = False,
) -> None:
    """Send tickets from a file, from standard input, a sample, or made of options.

    With --wait the exit code is 0 only when every ticket is COMPLETED.
    """
    from worker_agents.cli.submit import Submission, submit_tickets
    from worker_agents.cli.ticket_sources import TicketOptions, tickets_of

    made = TicketOptions(
        task_type=task_type,
        ticket_id=ticket_id,
        parameters=param or [],
        dependencies=depends_on or [],
        priority=priority,
        plan_id=plan,
        max_retries=max_retries,
        time_limit=time_limit,
    )
    tickets = tickets_of(source, made, check=check, sample=sample)
    succeeded = submit_tickets(Submission(tickets, key, wait=wait, timeout=timeout, as_json=as_json))
    raise typer.Exit(ExitCode.DONE if succeeded else ExitCode.FAILED)


@app.command(rich_help_panel="Tickets")
def samples(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this one; otherwise list all.")] = None,
    as_json: Json = False,
) -> None:
    """Show sample tickets, one of each type and more, to submit or to copy."""
    from worker_agents.cli.samples import list_samples, show_sample

    if name is None:
        list_samples(as_json=as_json)
    else:
        show_sample(name)


@app.command(rich_help_panel="Tickets")
def cancel(
    ticket_id: Annotated[str, typer.Argument(metavar="TICKET_ID")],
    *,
    reason: Reason = "",
    by: By = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Give a ticket up: its result is FAILED, cancelled. Needs ADMIN_TOKEN."""
    from worker_agents.cli.operate import note, order_for_ticket

    order_for_ticket("cancel", ticket_id, note(reason, by), url=url, as_json=as_json)


@app.command(rich_help_panel="Tickets")
def retry(
    ticket_id: Annotated[str, typer.Argument(metavar="TICKET_ID")],
    *,
    reason: Reason = "",
    by: By = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Try a ticket that waits for its next attempt at once. Needs ADMIN_TOKEN."""
    from worker_agents.cli.operate import note, order_for_ticket

    order_for_ticket("retry", ticket_id, note(reason, by), url=url, as_json=as_json)


@app.command(rich_help_panel="Tickets")
def results(
    *,
    ticket: TicketId = None,
    status: Annotated[str | None, typer.Option("--status", help="COMPLETED, FAILED or RUNNING.")] = None,
    task_type: TaskType = None,
    plan: Plan = None,
    limit: Limit = 20,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """List the newest results."""
    from worker_agents.cli.listing import RecordFilter
    from worker_agents.cli.results import show_results

    show_results(RecordFilter(ticket, status, task_type, plan), limit=limit, follow=follow, as_json=as_json)


@app.command(rich_help_panel="Tickets")
def tickets(
    *,
    ticket: TicketId = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            help="QUEUED, WAITING, RUNNING, COMPLETED, FAILED, SETTLED, DUPLICATE, IGNORED or UNREADABLE.",
        ),
    ] = None,
    task_type: TaskType = None,
    plan: Plan = None,
    limit: Limit = 20,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """List the newest tickets, how far each has come, and until when it waits."""
    from worker_agents.cli.listing import RecordFilter
    from worker_agents.cli.tickets import show_tickets

    show_tickets(RecordFilter(ticket, status, task_type, plan), limit=limit, follow=follow, as_json=as_json)


@app.command(rich_help_panel="Work")
def status(
    url: Annotated[
        str | None, typer.Option("--url", help="Only the worker at this address; by default all that hold partitions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how each worker does: what runs, what waits and why; exit code 1 when one does not answer."""
    from worker_agents.cli.status import show_status

    show_status(url=url, as_json=as_json)


@dlq.command("list")
def dlq_list(
    *,
    ticket: TicketId = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only with this reason.")] = None,
    limit: Limit = 20,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """List the newest dead letters: why, from where, and how they begin."""
    from worker_agents.cli.dlq import LetterFilter, list_letters

    list_letters(LetterFilter(ticket, reason), limit=limit, follow=follow, as_json=as_json)


@dlq.command("replay")
def dlq_replay(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PARTITION-OFFSET]...", help="Places in the dead-letter topic.")
    ] = None,
    *,
    ticket: TicketId = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only letters of this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    rate: Annotated[float, typer.Option("--rate", min=0.01, max=10_000, help="Letters a second.")] = 10.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be sent.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again: their tickets run anew, with fresh attempts and without their old deadline.

    Each letter is replayed once, however often this is asked for.
    """
    from worker_agents.cli.dlq import LetterFilter
    from worker_agents.cli.dlq_replay import ReplayOrder, replay_letters

    wanted = LetterFilter(ticket, reason)
    replay_letters(ReplayOrder(places or (), wanted, everything, rate, dry_run), as_json=as_json)


@dlq.command("show")
def dlq_show(
    letter: Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="The dead letter's place, as in the list.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the value only, byte for byte.")] = False,
    as_json: Json = False,
) -> None:
    """Show one dead letter with its headers."""
    from worker_agents.cli.dlq import show_letter

    show_letter(letter, raw=raw, as_json=as_json)


@topics.command("create")
def topics_create(as_json: Json = False) -> None:
    """Create the topics that are missing, and check all four."""
    from worker_agents.cli.topics import create_topics

    create_topics(as_json=as_json)


@topics.command("describe")
def topics_describe(as_json: Json = False) -> None:
    """Show partitions and limits of the topics; exit code 2 when they are not fit for a worker."""
    from worker_agents.cli.topics import describe_topics

    describe_topics(as_json=as_json)


@executors.command("list")
def executors_list(as_json: Json = False) -> None:
    """List the task types that a worker with these settings serves."""
    from worker_agents.cli.executors import list_executors

    list_executors(as_json=as_json)


@executors.command("schema")
def executors_schema(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type, such as EXECUTE.")],
) -> None:
    """Print the JSON schema of a task type's parameters."""
    from worker_agents.cli.executors import print_schema

    print_schema(task_type)


@app.command(rich_help_panel="Workers")
def pause(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type, such as BUILD.")],
    *,
    reason: Reason = "",
    seconds: Annotated[
        float, typer.Option("--for", min=1, max=86_400, help="Seconds after which it ends by itself; at most a day.")
    ] = 3_600.0,
    by: By = None,
    everywhere: Everywhere = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Start no tickets of a type on a worker for some time; those that run go on. Needs ADMIN_TOKEN.

    Without --url and --all it is the worker on this machine. A worker that is restarted, or started later, knows nothing of it.
    """
    from worker_agents.cli.operate import note, order_for_workers, path_of_type

    body = note(reason, by) | {"for_seconds": seconds}
    order_for_workers(path_of_type(task_type, "pause"), body, url=url, everywhere=everywhere, as_json=as_json)


@app.command(rich_help_panel="Workers")
def resume(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type, such as BUILD.")],
    *,
    reason: Reason = "",
    by: By = None,
    everywhere: Everywhere = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """End a pause before its time. Needs ADMIN_TOKEN."""
    from worker_agents.cli.operate import note, order_for_workers, path_of_type

    path = path_of_type(task_type, "resume")
    order_for_workers(path, note(reason, by), url=url, everywhere=everywhere, as_json=as_json)


@app.command(rich_help_panel="Workers")
def drain(
    *,
    reason: Reason = "",
    by: By = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Have a worker take nothing more, let what runs end, and stop, as SIGTERM does. Needs ADMIN_TOKEN."""
    from worker_agents.cli.operate import note, order_for_workers

    order_for_workers("/api/v1/drain", note(reason, by), url=url, everywhere=False, as_json=as_json)


@app.command(rich_help_panel="Set-up")
def config(as_json: Json = False) -> None:
    """Show every setting, its value and where that comes from; exit code 2 when some are wrong."""
    from worker_agents.cli.config import show_config

    show_config(as_json=as_json)


@app.command(rich_help_panel="Set-up")
def doctor(
    *,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Longest time for each check, in seconds.")
    ] = 10.0,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make it fail, too.")] = False,
    as_json: Json = False,
) -> None:
    """Look at all that a worker with these settings needs: what is wrong, why it matters, what to do.

    Exit code 0 without errors, 1 with some, 3 when Kafka does not answer. Nothing is changed anywhere.
    """
    from worker_agents.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(seconds=timeout, strict=strict, as_json=as_json))


@app.command("check-command", rich_help_panel="Set-up")
def check_command(
    command: Annotated[str, typer.Argument(metavar="COMMAND", help='A test command in quotes, such as "pytest -q".')],
    as_json: Json = False,
) -> None:
    """Say whether a TEST ticket may run a command here, and why; exit code 1 when it may not."""
    from worker_agents.cli.check_command import check_command as check

    raise typer.Exit(check(command, as_json=as_json))


app.add_typer(dlq, name="dlq", rich_help_panel="Tickets")
app.add_typer(topics, name="topics", rich_help_panel="Set-up")
app.add_typer(executors, name="executors", rich_help_panel="Set-up")
