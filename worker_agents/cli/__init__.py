"""The ``worker-agents`` command: one module for each group of commands.

Standard output carries what was asked for (text, or JSON with ``--json``), standard error everything else. Exit codes
are those of ``exits.ExitCode``; an error is one clear sentence.
"""


def main() -> None:
    """Entry point of the installed script."""
    from worker_agents.cli.app import app

    app(prog_name="worker-agents")
