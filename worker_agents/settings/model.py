"""All settings in one frozen object."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker_agents.settings.integrations import IntegrationSettings
from worker_agents.settings.kafka import KafkaSettings
from worker_agents.settings.service import ServiceSettings
from worker_agents.settings.work import WorkSettings


class Settings(ServiceSettings, IntegrationSettings, WorkSettings, KafkaSettings, BaseSettings):
    """The effective settings. ``load_settings`` makes them from the environment; the constructor reads none.

    ``warnings`` are sentences about settings that are allowed but look wrong, ``sources`` says for each variable
    that was set where its value came from.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    warnings: tuple[str, ...] = ()
    sources: Mapping[str, str] = {}

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

    def vault_references(self) -> tuple[str, ...]:
        """Variables of the secrets that are to be read from Vault."""
        secrets = {name: getattr(self, name).get_secret_value() for name in FIELDS if is_secret(FIELDS[name])}
        return tuple(variable_of(name) for name, secret in secrets.items() if secret.startswith(VAULT_PREFIX))

    def secret_values(self) -> tuple[str, ...]:
        """The secrets themselves, for the masker of logs. Vault references are no secrets."""
        secrets = (getattr(self, name).get_secret_value() for name in FIELDS if is_secret(FIELDS[name]))
        return tuple(secret for secret in secrets if secret and not secret.startswith(VAULT_PREFIX))


VAULT_PREFIX = "vault:"

_GROUPS: tuple[type[BaseModel], ...] = (KafkaSettings, WorkSettings, IntegrationSettings, ServiceSettings)

FIELDS: dict[str, FieldInfo] = {name: field for group in _GROUPS for name, field in group.model_fields.items()}
"""Every setting by its field's name, in the order in which they are documented."""


def variable_of(name: str) -> str:
    """The environment variable of a field."""
    return name.upper()


def is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr
