"""``make fuzz``: every target in turn for some minutes, new failing inputs into the corpus."""

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import Target, keep, shortened
from tests.fuzz.search import search
from tests.fuzz.targets import TARGETS


def main() -> int:
    options = _options()
    rng = random.Random(options.seed)
    ends_at = time.monotonic() + options.minutes * 60
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    print(
        f"fuzzing {len(targets)} targets for {options.minutes:g} min with {options.engine}, seed {options.seed}",
        flush=True,
    )
    found, total = [], 0
    for number, target in enumerate(targets):
        seconds = max((ends_at - time.monotonic()) / (len(targets) - number), 1.0)
        engine = _guided if options.engine == "atheris" else search
        failing, tried = engine(target, seconds, rng.getrandbits(32))
        total += tried
        if failing is not None:
            found.append(keep(target, shortened(failing, target.breaks)))
        print(f"{target.name}: {tried:,} inputs, {'ok' if failing is None else f'BROKEN by {found[-1]}'}", flush=True)
    print(f"fuzz: {total:,} inputs, {len(targets)} targets, {len(found)} broken (seed {options.seed})")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    guided = importlib.util.find_spec("atheris") is not None
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="atheris" if guided else "hypothesis")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    return options


def _guided(target: Target, seconds: float, seed: int) -> tuple[bytes | None, int]:
    with tempfile.TemporaryDirectory() as folder:
        del seed  # libFuzzer draws its own: what it finds is kept as a file
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, f"{seconds:.0f}", folder]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        artifacts = sorted(Path(folder).iterdir())
        failing = artifacts[0].read_bytes() if artifacts else None
    executed = re.search(r"number_of_executed_units: (\d+)", ran.stderr)
    if ran.returncode and failing is None:
        raise RuntimeError(f"atheris ended with {ran.returncode}:\n{ran.stderr[-4_000:]}")
    return failing, int(executed[1]) if executed else 0


sys.exit(main())
