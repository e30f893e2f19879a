"""``python -m worker_agents.cli``: the same as the installed script."""

from worker_agents.cli import main

if __name__ == "__main__":
    main()
