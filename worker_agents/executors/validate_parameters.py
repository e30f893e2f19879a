"""What a VALIDATE ticket may ask for (``contracts.md`` 1.8)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import BeforeValidator, Field, model_validator
from pydantic.functional_validators import AfterValidator

from worker_agents.clients.opa import policy_segments
from worker_agents.clients.trivy import TargetKind
from worker_agents.executors.base import Parameters
from worker_agents.executors.parameter_types import OptionalText
from worker_agents.model.json_text import read_json

ValidationType = Literal["policy", "sast"]

DEFAULT_POLICY: Final = "policy/allow"

_TYPES: Final = {"policy": "policy", "opa": "policy", "sast": "sast"}
_TARGETS: Final = ("fs", "config", "image", "sbom")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,499}")


def _validation_type(value: object) -> object:
    """Its own name of what is asked for; ``opa`` is another name for ``policy``."""
    name = _name(value, "policy")
    if name not in _TYPES:
        raise ValueError(f"{name[:40]!r} is not available: this worker has policy (by OPA) and sast (by Trivy)")
    return _TYPES[name]


def _scan_target(value: object) -> object:
    name = _name(value, "fs")
    if name not in _TARGETS:
        raise ValueError(f"{name[:40]!r} is none of {', '.join(_TARGETS)}")
    return name


def _name(value: object, default: str) -> str:
    return default if value is None else str(value).strip().lower() or default


def _policy_path(value: str) -> str:
    policy_segments(value)
    return value.strip("/")


def _default_policy(value: object) -> object:
    return DEFAULT_POLICY if value is None or (isinstance(value, str) and not value.strip()) else value


def _input(value: object) -> object:
    """Any JSON. Producers over Avro send an object as its text."""
    if value is None:
        return {}
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return read_json(value)
    except orjson.JSONDecodeError as error:
        raise ValueError("starts like JSON, but is none") from error


class ValidateParameters(Parameters):
    """``policy`` asks for ``policy_path`` with ``input_data``; ``sast`` scans ``scan_target``.

    A directory (``fs``, ``config``) or an ``sbom`` file lies in ``working_dir``, or in a checkout of ``repo_url`` at ``revision``.
    """

    validation_type: Annotated[ValidationType, BeforeValidator(_validation_type)] = "policy"
    policy_path: Annotated[str, BeforeValidator(_default_policy), AfterValidator(_policy_path)] = DEFAULT_POLICY
    input_data: Annotated[Any, BeforeValidator(_input)] = Field(default_factory=dict)
    scan_target: Annotated[TargetKind, BeforeValidator(_scan_target)] = "fs"
    working_dir: OptionalText = None
    repo_url: OptionalText = None
    revision: OptionalText = None
    image: OptionalText = None
    sbom_path: OptionalText = None

    @model_validator(mode="after")
    def _names_its_target(self) -> Self:
        if self.validation_type != "sast":
            return self
        if self.scan_target == "image":
            if self.image is None:
                raise ValueError("image is missing: the reference to scan, such as team/app:1.2")
            if not _IMAGE.fullmatch(self.image):
                raise ValueError("image is not the reference of an image, such as team/app:1.2")
        if self.scan_target == "sbom" and self.sbom_path is None:
            raise ValueError("sbom_path is missing: the file to scan, relative to working_dir")
        return self
