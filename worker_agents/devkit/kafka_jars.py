"""Where the embedded broker's program comes from: Apache Kafka's jars, fetched once into the user's cache.

`jgo` resolves and downloads them in pure Python, so neither Maven nor an installed Java is needed. Which jars they are,
with their digests, stands in `kafka_jars.lock`; after a change of versions below, `python -m
worker_agents.devkit.kafka_jars` writes it anew.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.4.0"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka logs through slf4j 1.7 and brings log4j-core of this version, but not the bridge between the two. `!` keeps the
# versions that log4j's parent manages (an older kafka-clients among them) away from Kafka's own.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5!"

_LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
_PARALLEL_DOWNLOADS = 8

Progress = Callable[[str], None]


def kafka_classpath(on_progress: Progress) -> str:
    """Return the Java class path of the broker, downloading its jars (45 MB) the first time.

    Safe to call from several processes at once: one downloads, the others wait. Blocks; call it in a thread.

    Raises:
        ModuleNotFoundError: the extra `embedded` is not installed.
        RuntimeError: a jar is not in the Maven repository, or is not the one that was locked.
        OSError: the repository cannot be reached (`requests` errors are `OSError`s) or the cache cannot be written.
    """
    edition = _sha256(_LOCK_FILE)[:8]
    jars = cache_folder() / f"kafka-{KAFKA_VERSION}-{edition}"
    if not jars.exists():
        with _locked(cache_folder()):
            if not jars.exists():
                _install(jars, on_progress)
    return str(jars / "*")


def cache_folder() -> Path:
    """Return the folder for downloads that survive a run: `$XDG_CACHE_HOME/worker-agents`, usually under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "worker-agents"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(jars: Path, on_progress: Progress) -> None:
    """Put all jars into one folder that appears, complete, by a rename: an interrupted download leaves none."""
    staging = jars.parent / "download"
    shutil.rmtree(staging, ignore_errors=True)
    collected = staging / "jars"
    collected.mkdir(parents=True)
    for jar in _download(_locked_jars(), staging / "repository", on_progress):
        jar.rename(collected / jar.name)
    collected.rename(jars)
    shutil.rmtree(staging)


def _locked_jars() -> Mapping[str, str]:
    """Map Maven coordinates to SHA-256 digests."""
    lines = (line.split() for line in _LOCK_FILE.read_text().splitlines())
    return {coordinate: digest for digest, coordinate in lines}


def _download(jars: Mapping[str, str], repository: Path, on_progress: Progress) -> Iterator[Path]:
    maven = _maven(repository)
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        downloads = [pool.submit(_fetch, maven, coordinate, digest) for coordinate, digest in jars.items()]
        megabytes = 0.0
        for done, download in enumerate(as_completed(downloads), start=1):
            jar = download.result()
            megabytes += jar.stat().st_size / 1e6
            on_progress(f"downloading Apache Kafka {KAFKA_VERSION}: {done}/{len(jars)} files, {megabytes:.0f} MB")
            yield jar


def _maven(repository: Path) -> "MavenContext":
    from jgo.maven import MavenContext, PythonResolver

    return MavenContext(resolver=PythonResolver(), repo_cache=repository, timeout=30)


def _fetch(maven: "MavenContext", coordinate: str, digest: str) -> Path:
    jar = maven.create_dependency(coordinate).artifact.resolve()
    found = _sha256(jar)
    if found != digest:
        raise RuntimeError(f"{coordinate} has the SHA-256 digest {found}, expected {digest}")
    return jar


def write_lock_file() -> None:
    """Resolve the versions named above with all they depend on, and write down what was found."""
    with tempfile.TemporaryDirectory() as repository:
        maven = _maven(Path(repository))
        wanted = [maven.create_dependency(coordinate) for coordinate in (KAFKA, LOG_BINDING)]
        direct, transitive = maven.resolver.resolve(wanted)
        jars = {
            f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}": _sha256(artifact.resolve())
            for artifact in (dependency.artifact for dependency in [*direct, *transitive])
        }
    _LOCK_FILE.write_text("".join(f"{digest}  {coordinate}\n" for coordinate, digest in sorted(jars.items())))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    write_lock_file()
