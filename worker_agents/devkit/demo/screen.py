"""The demo on the screen: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker_agents.devkit.demo.story import SETTLING, Story, Told

_PIPE_WIDTH = 140
_SECONDS_BETWEEN_DOWNLOADS = 1.0
_STYLES = {"COMPLETED": "green", "FAILED": "red", "dead": "magenta", "running": "cyan", "waiting": "yellow"}


class Screen:
    def __init__(self, stream: TextIO | None = None) -> None:
        self.console = Console(file=stream or sys.stdout, highlight=False, emoji=False, markup=False)
        if not self.console.is_terminal:
            self.console.width = _PIPE_WIDTH
        self._began = time.monotonic()
        self._download_told = 0.0
        self._shown: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def step(self, line: str) -> None:
        """A line with the time. Of a download, which reports every file, not more than one line a second."""
        if line.startswith("downloading"):
            now = time.monotonic()
            if now - self._download_told < _SECONDS_BETWEEN_DOWNLOADS:
                return
            self._download_told = now
        self.line(f"{self.seconds:5.1f} s  {line}")

    def line(self, text: str = "", style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(text, style="bold")

    @contextmanager
    def live(self, story: Story) -> Iterator[None]:
        """Show the story while it goes on; call :meth:`update` when something happened."""
        if not self.console.is_terminal:
            yield
            return
        table = _RenderedWhenShown(story)
        with Live(table, console=self.console, refresh_per_second=4, transient=True):
            yield

    def update(self, story: Story) -> None:
        """Off a terminal: a line for each ticket that is not where it was."""
        if self.console.is_terminal:
            return
        for told in story.told:
            outcome = story.outcome(told)
            if self._shown.get(told.part.name, "queued") != outcome and outcome != SETTLING:
                self._shown[told.part.name] = outcome
                self.step(f"{told.part.name:<21} {outcome}")

    def endings(self, story: Story) -> None:
        """What became of each, and whether it should have."""
        self.console.print(_table(story, final=True))


class _RenderedWhenShown:
    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich__(self) -> Table:
        return _table(self._story, final=False)


def _table(story: Story, *, final: bool) -> Table:
    columns = ["ticket", "what it shows", "what became of it" if final else "now", "attempts", "took"]
    table = Table(*columns, *(["as it should"] if final else []), box=box.SIMPLE_HEAD, pad_edge=False)
    for told in story.told:
        outcome = story.outcome(told)
        cells = [Text(told.part.name), Text(told.part.shows, style="dim"), Text(outcome, style=_style(outcome))]
        cells += [Text(cell, justify="right") for cell in _figures(told)]
        if final:
            wrong = story.differences(told)
            cells.append(Text("no: " + "; ".join(wrong), style="bold red") if wrong else Text("yes", style="green"))
        table.add_row(*cells)
    return table


def _figures(told: Told) -> tuple[str, str]:
    if told.result is None:
        return "", ""
    return str(told.result["attempts"]), f"{told.result['actual_duration_ms'] / 1000:.1f} s"


def _style(outcome: str) -> str:
    return _STYLES.get(outcome.replace(",", " ").replace(":", " ").split()[0], "")
