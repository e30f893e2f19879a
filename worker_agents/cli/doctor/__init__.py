"""``worker-agents doctor``: looks at everything that a worker with these settings would need, and changes nothing.

examine              Vault first, then everything else side by side
  Check              one thing to look at (``checks``); it yields findings
    judge_…          pure: from what was seen to findings
print_findings       for people; ``print_document`` for programs (``report``)
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from itertools import chain

from worker_agents.cli.access import complete
from worker_agents.cli.doctor.checks import Check, run_check, run_checks
from worker_agents.cli.doctor.clock import Readings, judge_clock
from worker_agents.cli.doctor.executors import executor_checks
from worker_agents.cli.doctor.findings import Finding, Level, count
from worker_agents.cli.doctor.integrations import service_checks
from worker_agents.cli.doctor.kafka_checks import KafkaExamination
from worker_agents.cli.doctor.kubernetes import kubernetes_checks
from worker_agents.cli.doctor.machine import machine_checks
from worker_agents.cli.doctor.programs import program_checks
from worker_agents.cli.doctor.report import in_order, print_document, print_findings
from worker_agents.cli.doctor.safety import judge_drain, judge_settings
from worker_agents.cli.doctor.vault import open_vault
from worker_agents.cli.exits import ExitCode
from worker_agents.cli.output import print_json
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import Settings, load_settings
from worker_agents.telemetry.masking import SecretMasker


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    kafka_is_unreachable: bool

    def exit_code(self, *, strict: bool) -> ExitCode:
        """``strict`` makes warnings count like errors."""
        if self.kafka_is_unreachable:
            return ExitCode.KAFKA_UNREACHABLE
        bad = count(self.findings, Level.ERROR) + (count(self.findings, Level.WARNING) if strict else 0)
        return ExitCode.FAILED if bad else ExitCode.DONE


def run_doctor(*, seconds: float, strict: bool, as_json: bool) -> ExitCode:
    """Examine, show what was found, and say how to end; each check gets ``seconds``.

    Raises :class:`SettingsInvalid` with all that is wrong with the settings: there is nothing to examine then.
    """
    # Their errors are findings here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        settings = load_settings()
    except SettingsInvalid as error:
        if as_json:
            print_json({"problems": error.problems})
        raise
    diagnosis = complete(examine(settings, seconds))
    code = diagnosis.exit_code(strict=strict)
    if as_json:
        print_document(diagnosis.findings, code)
    else:
        print_findings(diagnosis.findings)
    return code


async def examine(settings: Settings, seconds: float) -> Diagnosis:
    """Look at everything; each check gets ``seconds``. Secrets are masked. Never raises."""
    vault = await open_vault(settings, seconds)
    resolved, unread, readings = vault.settings, vault.unread, Readings()
    kafka = KafkaExamination(resolved, readings, seconds, lacks_password="kafka_sasl_password" in unread)
    checks = [
        Check.of("settings.all", lambda: judge_settings(resolved)),
        Check.of("lifecycle.drain", lambda: judge_drain(resolved)),
        *executor_checks(resolved),
        *service_checks(resolved, readings, unread, seconds),
        *kubernetes_checks(resolved),
        *program_checks(resolved, readings, unread, seconds),
        *machine_checks(resolved),
    ]
    found = await asyncio.gather(kafka.findings(), run_checks(checks, seconds))
    # The clock is judged by what the others saw of other clocks.
    clock = await run_check(Check.of("clock.skew", lambda: judge_clock(readings)), seconds)
    mask = SecretMasker({*settings.secret_values(), *resolved.secret_values()})
    findings = [finding.masked(mask) for finding in (*vault.findings, *chain(*found), *clock)]
    return Diagnosis(in_order(findings), kafka.is_unreachable)
