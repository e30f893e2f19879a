"""Runs checks side by side: each has its time, and one that breaks is a finding itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from worker_agents.cli.doctor.findings import Finding, Subject


@dataclass(frozen=True, slots=True)
class Check:
    """``look`` finds what there is to say; it writes nothing anywhere."""

    name: str
    look: Callable[[], Awaitable[Iterable[Finding]]]

    @classmethod
    def of(cls, name: str, judge: Callable[[], Iterable[Finding]]) -> Check:
        """One that asks nobody."""

        async def look() -> Iterable[Finding]:
            return judge()

        return cls(name, look)


async def run_checks(checks: Iterable[Check], seconds: float) -> list[Finding]:
    """The findings in the order of ``checks``; each gets ``seconds``."""
    found = await asyncio.gather(*(run_check(check, seconds) for check in checks))
    return [finding for findings in found for finding in findings]


async def run_check(check: Check, seconds: float) -> list[Finding]:
    """Its findings. Raises nothing, unless it is cancelled itself."""
    subject = Subject(check.name)
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return list(await check.look())
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        # Some task of a library was cancelled, and this one waited for it.
        return [_broken(subject, error)]
    except Exception as error:  # noqa: BLE001 # the outermost frame of a check: whatever broke it is its finding
        if limit.expired():
            return [_late(subject, seconds)]
        return [_broken(subject, error)]


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _late(subject: Subject, seconds: float) -> Finding:
    return subject.error(
        f"it is not known: no answer within {seconds:g} s",
        why="What does not answer a question in that time will not serve tickets well.",
        advice="See whether what is asked hangs or is slow; --timeout gives it longer.",
    )


def _broken(subject: Subject, error: BaseException) -> Finding:
    return subject.error(
        f"it is not known: the check broke with {type(error).__name__}: {' '.join(str(error).split())}",
        why="The check met something that it was not made for.",
        advice="Look at what is named here by hand, and please report this.",
    )
