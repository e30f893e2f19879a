"""Runs a command that a ticket names, if the policy allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from worker_agents.clients.command.environment import build_environment, environment_problem
from worker_agents.clients.command.policy import Allowed, CommandPolicy, Refused
from worker_agents.clients.process import ProcessLimits, ProcessOutcome, ProgramMissing, run_process
from worker_agents.clients.process_output import Mask
from worker_agents.model.errors import Reason, TaskError


class CommandRefused(TaskError):
    """The command or its environment is not allowed here: wrong, not an outage, and never simulated."""

    reason = Reason.COMMAND_REFUSED


class CommandRunner:
    """``limits.seconds`` is the longest time limit that a run may have.

    ``environment_allowed`` names variables that are copied from the worker's environment and that a ticket may set.
    ``scratch`` gives each run an empty directory of its own for HOME and TMPDIR. ``mask`` hides secrets.
    """

    def __init__(
        self,
        policy: CommandPolicy,
        *,
        limits: ProcessLimits,
        scratch: Callable[[], AbstractAsyncContextManager[Path]],
        environment_allowed: Sequence[str] = (),
        mask: Mask = str,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._scratch = scratch
        self._environment_allowed = tuple(environment_allowed)
        self._mask = mask

    def check(
        self, command: str | Sequence[str], *, cwd: Path | None = None, env_vars: Mapping[str, str] | None = None
    ) -> Allowed:
        """What would run. Raises :class:`CommandRefused`, which says why."""
        decision = self._policy.decide(command, cwd=cwd)
        if isinstance(decision, Refused):
            raise CommandRefused(f"test_command: {decision.reason}")
        problem = environment_problem(env_vars or {}, self._environment_allowed)
        if problem is not None:
            raise CommandRefused(problem)
        return decision

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: Path,
        seconds: float,
        env_vars: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> ProcessOutcome:
        """Run it in ``cwd``, a real path, for at most ``seconds``.

        Raises :class:`CommandRefused`, before anything is started, and what :func:`run_process` raises. Cancelling ends
        the command with everything that it started.
        """
        allowed = self.check(command, cwd=cwd, env_vars=env_vars)
        if allowed.program is None:
            raise ProgramMissing(
                f"the program {allowed.argv[0]!r} is not found on TEST_COMMAND_PATH ({self._policy.path})"
            )
        async with self._scratch() as scratch:
            return await run_process(
                [str(allowed.program), *allowed.argv[1:]],
                cwd=cwd,
                env=build_environment(
                    path=self._policy.path,
                    scratch=scratch,
                    allowed=self._environment_allowed,
                    variables=env_vars or {},
                ),
                limits=dataclasses.replace(self._limits, seconds=min(seconds, self._limits.seconds)),
                mask=self._mask,
                on_line=on_line,
            )
