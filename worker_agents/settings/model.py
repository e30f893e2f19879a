"""All settings in one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker_agents.settings.integrations import IntegrationSettings
from worker_agents.settings.kafka import KafkaSettings
from worker_agents.settings.service import ServiceSettings
from worker_agents.settings.values import VAULT_PREFIX
from worker_agents.settings.work import WorkSettings


@dataclass(frozen=True, slots=True)
class Reference:
    """``vault:path#key``: one value of a secret in Vault. ``path`` is without mount."""

    path: str
    key: str

    @classmethod
    def read(cls, secret: SecretStr) -> Reference | None:
        """``None`` for a text that is no reference, or not a whole one."""
        text = secret.get_secret_value()
        path, _, key = text.removeprefix(VAULT_PREFIX).partition("#")
        is_plain = path.isprintable() and all(name not in ("", ".", "..") for name in path.strip("/").split("/"))
        return cls(path, key) if text.startswith(VAULT_PREFIX) and is_plain and key else None

    def __str__(self) -> str:
        return f"{VAULT_PREFIX}{self.path}#{self.key}"


class Settings(ServiceSettings, IntegrationSettings, WorkSettings, KafkaSettings, BaseSettings):
    """The effective settings. ``load_settings`` makes them from the environment; the constructor reads none.

    ``warnings`` are sentences about settings that are allowed but look wrong, ``sources`` says for each variable
    that was set where its value came from. ``secret_origins`` tells by the field's name where a secret can be read again:
    its file, or its place in Vault.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    warnings: tuple[str, ...] = ()
    sources: Mapping[str, str] = {}
    secret_origins: Mapping[str, Path | Reference] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but the arguments: ``environment.EnvironmentSource`` reads what they are made of."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def lease_seconds(self) -> float:
        """How long a worker that cannot prove its ownership goes on with a partition's tickets.

        So much less than the session that what runs can be stopped before another worker begins.
        """
        return self.kafka_session_timeout_seconds - self.kill_grace_seconds

    @property
    def stop_seconds(self) -> float:
        """How long a stop may take after the drain: what runs is ended, and the partitions are handed over."""
        return self.kill_grace_seconds + min(10.0, self.kafka_session_timeout_seconds / 3)

    def vault_references(self) -> dict[str, Reference]:
        """The secrets that are to be read from Vault, by their field's name."""
        secrets = {name: Reference.read(getattr(self, name)) for name in FIELDS if is_secret(FIELDS[name])}
        return {name: reference for name, reference in secrets.items() if reference is not None}

    def secret_values(self) -> tuple[str, ...]:
        """The secrets themselves, for the masker of logs. Vault references are no secrets."""
        secrets = (getattr(self, name).get_secret_value() for name in FIELDS if is_secret(FIELDS[name]))
        return tuple(secret for secret in secrets if secret and not secret.startswith(VAULT_PREFIX))


_GROUPS: tuple[type[BaseModel], ...] = (KafkaSettings, WorkSettings, IntegrationSettings, ServiceSettings)

FIELDS: dict[str, FieldInfo] = {name: field for group in _GROUPS for name, field in group.model_fields.items()}
"""Every setting by its field's name, in the order in which they are documented."""


def variable_of(name: str) -> str:
    """The environment variable of a field."""
    return name.upper()


def is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr
