"""``worker-agents config``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from worker_agents.cli.exits import say
from worker_agents.cli.output import print_json, print_table
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import SettingRow, describe, load_settings


def show_config(*, as_json: bool) -> None:
    """Print the effective settings, secrets masked. Raises :class:`SettingsInvalid` with all problems."""
    try:
        settings = load_settings()
    except SettingsInvalid as error:
        if as_json:
            print_json({"problems": error.problems})
        raise
    rows = describe(settings)
    if as_json:
        print_json({"settings": [asdict(row) for row in rows], "warnings": settings.warnings})
        return
    _print_rows(rows)
    for warning in settings.warnings:
        say(f"warning: {warning}")


def _print_rows(rows: Sequence[SettingRow]) -> None:
    print_table(
        ("variable", "value", "source", "what it is"),
        [(row.variable, row.value_masked, row.source, row.description) for row in rows],
    )
