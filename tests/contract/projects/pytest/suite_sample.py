import os
import sys
import time

import pytest

SCENARIO = os.environ["SCENARIO"]


def test_always_passes() -> None:
    pass


@pytest.mark.skip(reason="to be counted as skipped")
def test_is_skipped() -> None:
    pass


def test_does_what_the_scenario_says() -> None:
    if SCENARIO == "huge":
        for _ in range(3_000):
            sys.stdout.write("x" * 1_000 + "\n")
    if SCENARIO == "crash":
        os.abort()
    if SCENARIO == "hang":
        sys.stdout.write("hanging\n")
        time.sleep(3_600)
    assert SCENARIO != "fail", "asked to fail"
