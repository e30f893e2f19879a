"""What the chart makes of each value set, line by line: `make generate` writes the golden files anew."""

import subprocess
from pathlib import Path

from tests.support.chart import CASES, CHART, GOLDEN, cases, golden_of, golden_text
from tests.support.tools import tool
from tools.generate.chart import readme


def test_a_value_set_gives_what_its_golden_file_says(case: Path) -> None:
    assert golden_of(case).read_text(encoding="utf-8") == golden_text(case), "`make generate` writes it anew"


def test_every_golden_file_has_its_value_set() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {case.stem for case in cases()}


def test_the_readme_is_what_helm_docs_makes_of_the_values() -> None:
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme(), "`make generate` writes it anew"


def test_helm_has_nothing_to_say_about_the_chart(case: Path) -> None:
    ended = subprocess.run(
        [tool("helm"), "lint", "--strict", "--values", case, CHART],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, "1 chart(s) linted, 0 chart(s) failed" in ended.stdout) == (0, True), ended.stdout


def test_the_chart_can_be_packaged(tmp_path: Path) -> None:
    subprocess.run(
        [tool("helm"), "package", CHART, "--destination", tmp_path], capture_output=True, timeout=60, check=True
    )

    [package] = tmp_path.iterdir()
    ended = subprocess.run(
        [tool("helm"), "template", "r", package, "--values", CASES / "monitoring.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "alert: WorkerAgentsGone" in ended.stdout
