"""Build wheel and sdist of this tree, look into them, build again, install and run: ``python -m tools.release_check``."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools.release_check.contents import (
    rebuilt_problems,
    sdist_contents,
    sdist_problems,
    wheel_contents,
    wheel_problems,
)
from tools.release_check.installed import (
    WITHOUT_EXTRA,
    command_problems,
    expected_of,
    import_problems,
    install,
    licence_problems,
)
from tools.release_check.metadata import changelog_problems, metadata_problems, sections_with_text, wheel_metadata
from worker_agents import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = ROOT / "CHANGELOG.md"


@dataclass
class Report:
    problems: list[str] = field(default_factory=list)

    def check(self, what: str, problems: Iterable[str]) -> None:
        found = list(problems)
        self.problems += found
        print(f"{'wrong' if found else 'ok':<6} {what}", flush=True)
        for problem in found:
            print(f"       {problem}", flush=True)


def main() -> int:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        try:
            _check(report, Path(folder))
        except subprocess.CalledProcessError as error:
            report.check("a program that the check needs", [failure(error)])
    print(_verdict(len(report.problems)))
    return 1 if report.problems else 0


def _verdict(problems: int) -> str:
    if problems:
        return f"{problems} problem{'s' * (problems != 1)}"
    newest, *_ = sections_with_text(CHANGELOG.read_text(encoding="utf-8"))
    if newest != __version__:
        return f"all is well with worker-agents {__version__}, whose changes still stand under [{newest}]"
    return f"worker-agents {__version__} can be released"


def _check(report: Report, folder: Path) -> None:
    tracked = _git("ls-files", "-z").rstrip("\0").split("\0")
    tags = [tag for tag in _git("tag", "--points-at", "HEAD").splitlines() if tag.startswith("v")]
    report.check("changelog", changelog_problems(CHANGELOG.read_text(encoding="utf-8"), __version__, tags))

    epoch = _git("log", "-1", "--format=%ct").strip()
    sdist, wheel = build(ROOT, folder / "first", epoch)
    report.check("sdist: all that is under version control", sdist_problems(sdist_contents(sdist), tracked))
    report.check("wheel: the package and nothing else", wheel_problems(wheel_contents(wheel), tracked))
    report.check("metadata", metadata_problems(wheel_metadata(wheel), __version__))

    source = unpacked(sdist, folder / "source")
    report.check("the sdist's tests can be collected", collection_problems(source))
    sdist_again, wheel_again = build(source, folder / "again", epoch)
    report.check("sdist built from the sdist", same(sdist, sdist_again))
    report.check("wheel built from the sdist", same(wheel, wheel_again))

    programs = install(wheel, ROOT / "requirements-runtime.lock", folder / "environment")
    report.check("every module can be imported", import_problems(programs, folder))
    report.check("commands run", command_problems(programs, expected_of(__version__), folder))
    report.check("the demo says what it lacks", command_problems(programs, [WITHOUT_EXTRA], folder))
    report.check("licences", licence_problems(programs, folder))


def failure(error: subprocess.CalledProcessError) -> str:
    """The command, and the end of what it said."""
    said = "\n".join(filter(None, (error.stdout, error.stderr))).strip()
    return f"{' '.join(map(str, error.cmd))} ended with {error.returncode}: {said[-1000:]}"


def build(source: Path, folder: Path, epoch: str) -> tuple[Path, Path]:
    """The sdist and the wheel of ``source``, made with this environment's pinned hatchling."""
    options = ("--no-isolation", "--sdist", "--wheel", "--outdir", str(folder))
    environment = os.environ | {"SOURCE_DATE_EPOCH": epoch}
    command = [sys.executable, "-m", "build", *options, str(source)]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


def collection_problems(source: Path) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    return [f"pytest --collect-only: {ended.stdout[-1000:]}"] if ended.returncode else []


def same(first: Path, again: Path) -> list[str]:
    """Problems unless both are the same, byte for byte."""
    if first.read_bytes() == again.read_bytes():
        return []
    read = wheel_contents if first.suffix == ".whl" else sdist_contents
    differences = rebuilt_problems(first.name, read(first), read(again))
    return differences or [
        f"{first.name} has the same files each time, but other bytes: SOURCE_DATE_EPOCH is not heeded"
    ]


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
