"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: one document, or a line for each record when following.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what arrives, until Ctrl-C.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Show the newest so many.")]
TicketId = Annotated[
    str | None, typer.Option("--ticket", help="Only of this ticket id; exit code 4 when there is none.")
]
TaskType = Annotated[str | None, typer.Option("--type", help="Only of this task type.")]
Plan = Annotated[str | None, typer.Option("--plan", help="Only of this plan id.")]
Reason = Annotated[
    str, typer.Option("--reason", "-r", help="Why; it goes into the log, and into the result of a cancelled ticket.")
]
By = Annotated[str | None, typer.Option("--by", help="Who asks; by default the user of this shell.")]
Url = Annotated[
    str | None, typer.Option("--url", help="Address of the worker, where the one that is known is not reachable.")
]
Everywhere = Annotated[bool, typer.Option("--all", help="Every worker that holds a partition just now.")]
