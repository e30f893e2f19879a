"""What a target is, how one input is run, and where inputs are kept."""

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_SECONDS = 2.0
MAX_GROWTH_BYTES = 256 * 2**20
MAX_MESSAGE = 4_000


@dataclass(frozen=True, slots=True)
class Target:
    """``check`` raises for an input that breaks the property; an error that the property allows, it swallows.

    ``tokens`` are what inputs are made of; ``samples`` are inputs kept elsewhere.
    """

    name: str
    check: Callable[[bytes], None]
    tokens: tuple[bytes, ...]
    samples: tuple[Path, ...] = ()

    def run(self, content: bytes) -> None:
        """Check one input, within the limits on CPU time and memory that hold for every target."""
        began, peak = time.process_time(), _peak_bytes()
        self.check(content)
        seconds, growth = time.process_time() - began, _peak_bytes() - peak
        assert seconds < MAX_SECONDS, f"{seconds:.1f} s of CPU time for {len(content)} bytes"
        assert growth < MAX_GROWTH_BYTES, f"{growth / 2**20:.0f} MiB for {len(content)} bytes"

    def breaks(self, content: bytes) -> bool:
        try:
            self.run(content)
        except Exception:  # noqa: BLE001 # whatever it is: that is what is looked for
            return True
        return False

    def corpus(self) -> list[Path]:
        return sorted((CORPUS / self.name).iterdir())

    def inputs(self) -> list[bytes]:
        return [path.read_bytes() for path in (*self.corpus(), *self.samples)]


def keep(target: Target, content: bytes, corpus: Path = CORPUS) -> Path:
    """Add a failing input to the corpus, where the next test run finds it."""
    path = corpus / target.name / f"found-{hashlib.sha256(content).hexdigest()[:10]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def shortened(content: bytes, breaks: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """A shorter input that breaks it too: pieces are left out, big ones first, until none can be or time is up."""
    ends_at = time.monotonic() + seconds
    size = max(len(content) // 2, 1)
    while size and time.monotonic() < ends_at:
        at = 0
        while at < len(content) and time.monotonic() < ends_at:
            without = content[:at] + content[at + size :]
            if breaks(without):
                content = without
            else:
                at += size
        size //= 2
    return content


def assert_readable(message: str) -> None:
    """A message that a person can be shown: one line of moderate length, without anything that a terminal obeys."""
    assert message.strip()
    assert message.isprintable(), ascii(message[:200])
    assert len(message) <= MAX_MESSAGE, f"{len(message)} characters: {message[:200]}"


def split_head(content: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """``name: value`` lines, a blank line and the rest; without a blank line all is the rest."""
    head, blank, rest = content.partition(b"\n\n")
    if not blank:
        return [], content
    pairs = (line.partition(b": ") for line in head.split(b"\n"))
    return [(name.decode(errors="replace"), value) for name, _, value in pairs], rest


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
