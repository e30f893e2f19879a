"""``python -m tests.chaos.fire --minutes 60 --seed 7 --brokers 3``: a run of any length. Exit code 1 on any violation."""

# ruff: noqa: T201 - it prints its report

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.fire.driver import Plan, fight
from tests.chaos.fire.faults import KINDS


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: repeat with --seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="worker-agents-chaos-"))
    plan = Plan(
        seed=seed,
        seconds=options.minutes * 60,
        brokers=options.brokers,
        workers=options.workers,
        faults_a_minute=options.faults_a_minute,
        tickets_a_second=options.tickets_a_second,
        kinds=tuple(options.kinds.split(",")) if options.kinds else (),
    )
    report = asyncio.run(fight(plan, folder))
    report.write(folder)
    print("\n".join(report.lines()), flush=True)
    if report.is_clean and not options.keep:
        shutil.rmtree(folder)
        return 0
    print(f"logs, faults and violations: {folder}")
    return int(not report.is_clean)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fire", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults strike")
    parser.add_argument("--seed", type=int, help="repeat that plan; by default a new one")
    parser.add_argument("--brokers", type=int, default=3, choices=(1, 3))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--faults-a-minute", type=float, default=12.0)
    parser.add_argument("--tickets-a-second", type=float, default=5.0)
    parser.add_argument("--kinds", help=f"only these, comma-separated, of: {', '.join(sorted(KINDS))}")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs also when nothing was found")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
