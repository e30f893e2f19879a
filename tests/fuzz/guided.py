"""One target under atheris, which prefers inputs that reach new code: ``python -m tests.fuzz.guided TARGET SECONDS FOLDER``.

A process of its own, as libFuzzer ends its process; a failing input is left in FOLDER.
"""

import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["worker_agents"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.mutation import mutated


def main() -> None:
    name, seconds, folder = sys.argv[1:]
    target = TARGETS[name]
    known = target.inputs()

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(rng, data, known, target.tokens)[:max_size]

    with TemporaryDirectory() as reached:
        for number, content in enumerate(known):
            Path(reached, str(number)).write_bytes(content)
        options = [
            f"-max_total_time={seconds}",
            "-max_len=65536",
            "-timeout=30",
            f"-artifact_prefix={folder}/",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], reached, *options, "-print_final_stats=1"], target.run, custom_mutator=mutate)
        atheris.Fuzz()


main()
