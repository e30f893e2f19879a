"""How a command ends: its exit code, and one sentence where something went wrong."""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from worker_agents.model.errors import StartupError, WorkerAgentsError


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    KAFKA_UNREACHABLE = 3
    NOT_FOUND = 4
    VAULT_UNREACHABLE = 5
    INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do what it was asked to; the message is a sentence for whoever asked."""

    exit_code = ExitCode.FAILED


class BadUsage(CommandFailed):
    exit_code = ExitCode.USAGE


class NotFound(CommandFailed):
    exit_code = ExitCode.NOT_FOUND


class GuardedGroup(TyperGroup):
    """The outermost frame of every command: errors become a sentence on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (CommandFailed, StartupError) as error:
            raise _ended(str(error), error.exit_code) from error
        except WorkerAgentsError as error:
            raise _ended(str(error), ExitCode.FAILED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:
            _forget_output()
            raise typer.Exit(ExitCode.DONE) from error
        # Typer's own ways out are RuntimeErrors too.
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if _is_typers(error):
                raise
            raise _ended(_fault(error), ExitCode.FAILED) from error


def say(sentence: str) -> None:
    """Tell whoever watches, without touching standard output."""
    print(sentence, file=sys.stderr, flush=True)


def _ended(sentence: str, code: int) -> typer.Exit:
    say(f"worker-agents: {sentence}")
    return typer.Exit(code)


def _is_typers(error: Exception) -> bool:
    """Usage errors: typer reports them itself, with the command's usage."""
    return type(error).__module__.split(".")[0] in ("typer", "click")


def _fault(error: Exception) -> str:
    """A fault of ours: enough to report it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.relpath(frame.filename)}:{frame.lineno}"
    return f"internal error, please report it: {type(error).__name__}: {error} ({place})"


def _forget_output() -> None:
    """Whoever read our output went away (``| head``): let Python's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
