"""What is in the image, what is not, and that the same sources make the same one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.support.containers import ROOT, Containers, output
from tests.support.image_workshop import BASE, TRIVY, Workshop
from worker_agents import __version__

pytestmark = pytest.mark.timeout(600)

MIB = 1024 * 1024
UNCHECKED_HASH = 1
NOT_IN_IT = (
    *("build", "etc/pip.conf", "run/secrets/ca.pem", "root/.cache", "var/cache/apt/pkgcache.bin", "var/log/dpkg.log"),
    *("opt/worker-agents/bin/pip", "opt/worker-agents/lib/python3*/site-packages/pip"),
    *("opt/worker-agents/lib/python3*/site-packages/tests", "opt/worker-agents/lib/python3*/site-packages/pytest"),
    "var/lib/apt/lists/*",
)


@pytest.fixture(scope="module")
def files(podman: Containers, image: str) -> Iterator[Path]:
    with podman.mounted(image) as root:
        yield root


@pytest.fixture(scope="module")
def packages(files: Path) -> Path:
    (found,) = files.glob("opt/worker-agents/lib/python3*/site-packages")
    return found


def test_it_says_what_it_is(podman: Containers, image: str) -> None:
    inspected = podman.inspect(image)
    labels = {name.rpartition(".")[2]: value for name, value in inspected["Labels"].items()}

    assert (labels["title"], labels["version"], labels["licenses"]) == ("worker-agents", __version__, "Apache-2.0")
    assert labels["revision"].removesuffix("-dirty") == output("git", "rev-parse", "HEAD")
    assert datetime.fromisoformat(labels["created"]) == datetime.fromisoformat(
        output("git", "log", "-1", "--format=%cI")
    )
    assert labels["description"]
    assert inspected["Config"]["User"] == "10001:10001"
    assert (inspected["Config"]["Entrypoint"], inspected["Config"]["Cmd"]) == (["tini", "--", "worker-agents"], ["run"])


def test_it_has_the_packages_of_the_runtime_lock_and_no_others(packages: Path) -> None:
    lock = (ROOT / "requirements-runtime.lock").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^(\S+)==(\S+) (?!; sys_platform == 'win32')", lock, re.MULTILINE))
    installed = {each.name.lower().replace("_", "-"): each.version for each in distributions(path=[str(packages)])}

    assert installed == {**locked, "worker-agents": __version__}


@pytest.mark.parametrize("pattern", NOT_IN_IT)
def test_nothing_is_left_of_the_build(files: Path, pattern: str) -> None:
    assert list(files.glob(pattern)) == []


def test_the_service_is_compiled_and_its_bytecode_never_stale(packages: Path) -> None:
    sources = list((packages / "worker_agents").rglob("*.py"))
    compiled = [_only(path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc")) for path in sources]

    assert len(sources) > 100
    assert {int.from_bytes(path.read_bytes()[4:8], "little") for path in compiled} == {UNCHECKED_HASH}


def test_the_list_of_its_contents_names_packages_of_all_kinds(
    podman: Containers, image: str, packages: Path, tmp_path: Path
) -> None:
    archive, listed = tmp_path / "image.tar", tmp_path / "contents.cdx.json"
    output(*podman.buildah, "push", "--quiet", image, f"docker-archive:{archive}")

    output("tools/sbom", str(archive), str(listed))

    document = json.loads(listed.read_text())
    found = {
        (kind_of(each["purl"]), each["name"], each["version"]) for each in document["components"] if "purl" in each
    }
    installed = {(each.name, each.version) for each in distributions(path=[str(packages)])}
    assert document["bomFormat"] == "CycloneDX"
    assert {(name, version) for kind, name, version in found if kind == "pypi"} == installed
    assert ("worker-agents", __version__) in installed
    assert {"git", "tini"} <= {name for kind, name, _ in found if kind == "deb"}
    assert "github.com/aquasecurity/trivy" in {name for kind, name, _ in found if kind == "golang"}


def test_it_is_small(podman: Containers, image: str) -> None:
    sizes = {name: podman.inspect(name)["Size"] / MIB for name in (image, BASE, TRIVY)}
    own = sizes[image] - sizes[BASE] - sizes[TRIVY]

    print(f"{sizes[image]:.0f} MiB: base {sizes[BASE]:.0f}, Trivy {sizes[TRIVY]:.0f}, the rest {own:.0f}")
    assert own < 220


def test_the_same_sources_make_the_same_layers(workshop: Workshop, podman: Containers, image: str) -> None:
    again = workshop.build("localhost/built-again", "--no-cache", "--target=without-trivy")
    first, second = (podman.inspect(name)["RootFS"]["Layers"] for name in (image, again))

    # The last one is Trivy.
    assert first[:-1] == second


def test_a_label_that_names_another_version_than_the_program_fails_the_build(workshop: Workshop, image: str) -> None:
    assert image
    with pytest.raises(AssertionError, match=r"building at STEP .*--version.* exit status 1"):
        workshop.build("localhost/mislabelled", "--build-arg=VERSION=9.9.9")


def kind_of(purl: str) -> str:
    """``pypi`` of ``pkg:pypi/aiokafka@0.14.0``."""
    return purl.removeprefix("pkg:").partition("/")[0]


def _only(paths: Iterator[Path]) -> Path:
    (path,) = paths
    return path
