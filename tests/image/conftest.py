"""The image, built once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.containers import Containers, containers
from tests.support.image_workshop import BASE, IMAGE, TRIVY, Workshop, debian_with_python, pip_configuration
from tests.support.tools import tool


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    trivy = tool("trivy")
    with containers() as made:
        debian_with_python(made, BASE)
        # The program itself, where the vendor's image has it: that one cannot be had everywhere.
        made.image_of(TRIVY, {trivy: "/usr/local/bin/trivy"})
        yield Workshop(made, pip_configuration(tmp_path_factory.mktemp("pip")))


@pytest.fixture(scope="session")
def podman(workshop: Workshop) -> Containers:
    return workshop.containers


@pytest.fixture(scope="session")
def image(workshop: Workshop) -> str:
    return workshop.build(IMAGE)


@pytest.fixture(scope="session")
def toolchain_image(workshop: Workshop, image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    assert image
    return workshop.build_documented_example(
        "localhost/worker-agents-with-toolchains", tmp_path_factory.mktemp("example")
    )
