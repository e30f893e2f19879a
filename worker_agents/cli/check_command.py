"""``worker-agents check-command``."""

from __future__ import annotations

import shlex

from worker_agents.cli.exits import ExitCode
from worker_agents.cli.output import print_json
from worker_agents.clients.command import Allowed, CommandPolicy, Refused
from worker_agents.model.text import printable
from worker_agents.settings import Settings, load_settings


def check_command(command: str, *, as_json: bool) -> ExitCode:
    """Print whether a TEST ticket may run ``command`` on a worker with these settings, and why."""
    settings = load_settings()
    policy = CommandPolicy(settings.allowed_test_commands, path=settings.test_command_path)
    decision = policy.decide(command)
    if as_json:
        print_json(_document(decision, settings))
    else:
        print("\n".join(_lines(command, decision, settings)))
    return ExitCode.DONE if isinstance(decision, Allowed) else ExitCode.FAILED


def _document(decision: Allowed | Refused, settings: Settings) -> dict[str, object]:
    document: dict[str, object] = {
        "allowed": isinstance(decision, Allowed),
        "allowed_test_commands": settings.allowed_test_commands,
        "test_command_path": settings.test_command_path,
    }
    match decision:
        case Allowed(argv, program, rule):
            return document | {"rule": rule, "argv": argv, "program": program}
        case Refused(reason):
            return document | {"reason": reason}


def _lines(command: str, decision: Allowed | Refused, settings: Settings) -> list[str]:
    match decision:
        case Allowed(argv, program, rule):
            return [
                f"allowed: {shlex.join(argv)}",
                f"  rule:    {rule} (in ALLOWED_TEST_COMMANDS)",
                f"  program: {program or f'not found on TEST_COMMAND_PATH ({settings.test_command_path})'}",
                f"  argv:    {list(argv)}",
            ]
        case Refused(reason):
            return [f"refused: {printable(command)}", f"  because: {printable(reason)}"]
