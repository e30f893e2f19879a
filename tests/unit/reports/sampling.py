"""The samples: what real tools wrote, less machine paths and long stack traces."""

from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def sample_text(name: str) -> str:
    return sample(name).decode()
