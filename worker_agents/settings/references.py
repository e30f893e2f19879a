"""Secret settings that are read from Vault: ``vault:path#key`` in place of the secret itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Annotated, Any, Protocol

from pydantic import SecretStr, TypeAdapter, ValidationError

from worker_agents.model.errors import IntegrationUnavailable, SettingsInvalid, TaskError, VaultUnreachable
from worker_agents.settings.contradictions import oddities
from worker_agents.settings.model import FIELDS, Reference, Settings, variable_of
from worker_agents.settings.values import VAULT_PREFIX


class SecretReader(Protocol):
    """Vault; see ``clients.vault``."""

    async def get_secret(self, path: str, key: str) -> str: ...


async def resolve_references(settings: Settings, vault: SecretReader, *, only: Collection[str] = ()) -> Settings:
    """A copy of ``settings`` with the secrets in place of their references; ``only`` names the fields that matter.

    All references that fail are told at once, by variable, path and key: as :class:`SettingsInvalid`, or as
    :class:`VaultUnreachable` where Vault went away meanwhile.
    """
    references = settings.vault_references()
    wanted = {name: found for name, found in references.items() if not only or name in only}
    outcomes = await asyncio.gather(*(_resolve(name, reference, vault) for name, reference in wanted.items()))
    found = dict(zip(wanted, outcomes, strict=True))
    failed = {name: outcome for name, outcome in found.items() if not isinstance(outcome, SecretStr)}
    if failed:
        problems = [f"{variable_of(name)}: {error}" for name, error in failed.items()]
        if any(isinstance(error, IntegrationUnavailable) for error in failed.values()):
            raise VaultUnreachable("secrets that settings refer to cannot be read:\n  " + "\n  ".join(problems))
        raise SettingsInvalid(problems)
    resolved = settings.model_copy(update=found)
    # What looks odd about a secret shows only now.
    warnings = tuple(dict.fromkeys((*settings.warnings, *oddities(resolved))))
    return resolved.model_copy(update={"warnings": warnings, "secret_origins": {**settings.secret_origins, **wanted}})


async def _resolve(name: str, reference: Reference, vault: SecretReader) -> SecretStr | TaskError | str:
    """The secret, or why there is none."""
    try:
        secret = await vault.get_secret(reference.path, reference.key)
    except TaskError as error:
        return error
    return _checked(name, reference, secret.rstrip("\r\n"))


def _checked(name: str, reference: Reference, secret: str) -> SecretStr | str:
    """A secret obeys the rules of its setting wherever it comes from."""
    if not secret:
        return f"{reference} is empty"
    if secret.startswith(VAULT_PREFIX):
        return f"{reference} is a reference itself"
    field = FIELDS[name]
    rules: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        checked: SecretStr = TypeAdapter(rules).validate_python(SecretStr(secret))
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        return f"{reference} {'; '.join(problem['msg'].removeprefix('Value error, ') for problem in problems)}"
    return checked
