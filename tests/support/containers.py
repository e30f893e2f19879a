"""Images and containers by buildah and podman, in a storage of their own: nothing of the machine's is seen or left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("buildah", "podman", "runc", "debootstrap", "apt-get")

# The machine that tests run on may be a container itself: no network of its own to give, and lower limits than podman's.
RUN_HERE = ("--network=host", "--ulimit=nofile=20000:20000", "--ulimit=nproc=20000:20000")
HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp",
)
"""What the restricted Pod Security Standard asks for, and a root file system that nobody writes to."""


@dataclass(frozen=True)
class Containers:
    """buildah and podman on the images and containers of one folder."""

    folder: Path
    driver: str

    @property
    def buildah(self) -> list[str]:
        return [_program("buildah"), *self._storage]

    @property
    def podman(self) -> list[str]:
        state = f"--tmpdir={self.folder / 'state'}"
        return [_program("podman"), *self._storage, state, "--cgroup-manager=cgroupfs", "--runtime=runc"]

    @property
    def _storage(self) -> list[str]:
        places = [f"--root={self.folder / 'storage'}", f"--runroot={self.folder / 'run'}"]
        return [*places, f"--storage-driver={self.driver}"]

    def running(
        self, image: str, *arguments: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command that runs a hardened container in the foreground; it hands signals on and ends with its exit code."""
        variables = [f"--env={name}={value}" for name, value in (env or {}).items()]
        return [*self.podman, "run", "--rm", *RUN_HERE, *HARDENED, *options, *variables, image, *arguments]

    def ask(self, name: str, *command: str) -> str:
        """What a program prints that is run inside a running container."""
        return output(*self.podman, "exec", name, *command)

    def inspect(self, image: str) -> dict[str, Any]:
        return dict(json.loads(output(*self.podman, "image", "inspect", image))[0])

    def image_of(self, tag: str, files: Mapping[Path, str]) -> None:
        """An image that holds these files and nothing else."""
        made = output(*self.buildah, "from", "--pull-never", "scratch")
        for source, target in files.items():
            output(*self.buildah, "copy", made, str(source), target)
        output(*self.buildah, "commit", "--quiet", "--rm", made, tag)

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """An image's files."""
        yield Path(output(*self.podman, "image", "mount", image))
        output(*self.podman, "image", "unmount", image)


@contextmanager
def containers() -> Iterator[Containers]:
    """Skips the test that asks where images cannot be built."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"images are built by root with {', '.join(PROGRAMS)}: `make tools` installs them, as root")
    # Not pytest's folder: podman makes sockets in its own, and the path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="worker-agents-images-"))
    made = Containers(folder, _driver(folder))
    try:
        yield made
    finally:
        output(*made.podman, "rm", "--all", "--force", "--time=0")
        output(*made.buildah, "rm", "--all")  # it forgets the container of a stage that has nothing but FROM
        subprocess.run(["umount", folder / "storage" / made.driver], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder)


def _driver(folder: Path) -> str:
    """Overlay where the kernel has it; vfs copies the whole image for every container."""
    probe = Containers(folder / "probe", "overlay")
    info = subprocess.run([*probe.buildah, "info"], capture_output=True, check=False)
    subprocess.run(["umount", folder / "probe" / "storage" / "overlay"], stderr=subprocess.DEVNULL, check=False)
    return "overlay" if info.returncode == 0 else "vfs"


def empty_dir(folder: Path) -> Path:
    """A new directory in ``folder`` as Kubernetes makes one for a pod: root's, and everyone may write."""
    folder.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder))
    made.chmod(0o777)
    return made


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return path


def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints. It must succeed; the end of what it says otherwise is the error's text."""
    # Not a pipe: what outlives the command - podman's monitor of a container - would keep it open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = subprocess.call(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    assert code == 0, f"{' '.join(command)} ended with {code}: {''.join(texts)[-3000:]}"
    return texts[0].strip()
