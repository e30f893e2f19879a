"""The image under test: the base that it is built on, made here, and the build itself as `make image` does it."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.containers import ROOT, Containers, output
from worker_agents import __version__
from worker_agents.devkit.kafka_jars import cache_folder

IMAGE = f"localhost/worker-agents:{__version__}"
BASE = "localhost/debian-with-python:bookworm"
TRIVY = "localhost/trivy:tools"

# A step of a build is a chroot: inside a container there may be no more to have.
_BUILD_HERE = ("--isolation=chroot", "--pull-never", "--network=host")
DEBIAN = ("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm")
_MIRRORS = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm", "Created-By: Packages")
# Of pip's configuration; the certificate is named anew, as it lies elsewhere in a build.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
_PIP_CERTIFICATE = "/run/secrets/ca.pem"
_EXAMPLE = re.compile(r"```dockerfile\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Workshop:
    """Where images are built. ``pip`` is how pip reaches its index, by the names of the Dockerfile's secrets."""

    containers: Containers
    pip: dict[str, Path]

    def build(self, name: str, *options: str) -> str:
        """The image of this checkout, by the tool that `make image` calls."""
        builder = {**os.environ, "BUILDER": " ".join(self.containers.buildah), "IMAGE": name}
        secrets = [f"--secret=id={name},src={path}" for name, path in self.pip.items()]
        bases = (f"--build-arg=PYTHON_IMAGE={BASE}", f"--build-arg=TRIVY_IMAGE={TRIVY}")
        output("tools/build-image", *_BUILD_HERE, "--layers", *bases, *secrets, *options, env=builder)
        return name

    def build_documented_example(self, tag: str, folder: Path) -> str:
        """The image with test toolchains that EXTERNAL_TOOLS_SETUP.md shows, on top of the one that was built last."""
        setup = (ROOT / "EXTERNAL_TOOLS_SETUP.md").read_text(encoding="utf-8")
        example = _EXAMPLE.search(setup.partition("## Test toolchains")[2])
        assert example is not None
        (folder / "Dockerfile").write_text(example[1])
        # buildah's way to lend a build some files without a word in the Dockerfile.
        places = {"pip.conf": "/etc/pip.conf", "ca.pem": _PIP_CERTIFICATE}
        lent = [f"--volume={path}:{places[name]}:ro" for name, path in self.pip.items()]
        version = f"--build-arg=VERSION={__version__}"
        output(*self.containers.buildah, "bud", *_BUILD_HERE, *lent, version, f"--tag={tag}", str(folder))
        return tag


def debian_with_python(made: Containers, tag: str) -> None:
    """Debian's smallest system with Python, from the machine's own mirror; made once and kept in the cache."""
    key = hashlib.sha256(" ".join(DEBIAN).encode()).hexdigest()[:8]
    kept = cache_folder() / f"debian-{key}"
    if not kept.exists():
        _bootstrap(made, kept)
    image = output(*made.buildah, "pull", "--quiet", f"dir:{kept}")
    output(*made.buildah, "tag", image, tag)


def _bootstrap(made: Containers, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="debootstrap-") as name:
        root, image = Path(name) / "root", Path(name) / "image"
        mirrors = output(*_MIRRORS).splitlines()
        output(*DEBIAN, str(root), *mirrors[:1])  # where there is none, debootstrap knows one
        archive = Path(name) / "root.tar"
        output("tar", "--create", f"--file={archive}", f"--directory={root}", ".")
        base = output(*made.buildah, "from", "--pull-never", "scratch")
        output(*made.buildah, "add", base, str(archive), "/")
        output(*made.buildah, "commit", "--quiet", "--rm", "--disable-compression", base, f"dir:{image}")
        image.rename(kept)


def pip_configuration(folder: Path) -> dict[str, Path]:
    """How pip reaches its index on this machine, as files for a build, named as the Dockerfile's secrets are."""
    listed = output(sys.executable, "-m", "pip", "config", "list").splitlines()
    settings = {key.rpartition(".")[2]: value.strip("'") for key, _, value in (line.partition("=") for line in listed)}
    lines = [f"{name} = {settings[name]}" for name in _PIP_SETTINGS if name in settings]
    files = {"pip.conf": folder / "pip.conf"}
    if "cert" in settings:
        lines.append(f"cert = {_PIP_CERTIFICATE}")
        files["ca.pem"] = Path(settings["cert"])
    files["pip.conf"].write_text("\n".join(["[global]", *lines, ""]))
    return files
