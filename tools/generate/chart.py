"""Write the chart's README and the golden files of its tests anew; needs `make tools`: ``python -m tools.generate.chart``."""

import subprocess

from tests.support.chart import CHART, GOLDEN, cases, golden_of, golden_text
from tests.support.tools import tool

README = [f"--chart-search-root={CHART}", "--sort-values-order=file", "--log-level=warning"]


def readme() -> str:
    """The chart's README.md, from values.yaml and README.md.gotmpl."""
    command = [tool("helm-docs"), *README, "--dry-run"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
    for outdated in GOLDEN.iterdir():
        outdated.unlink()
    for case in cases():
        golden_of(case).write_text(golden_text(case), encoding="utf-8")
