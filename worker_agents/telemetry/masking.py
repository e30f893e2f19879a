"""Keeps known secrets out of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "********"

# A shorter "secret" is part of ordinary words: masking it would hide the log and not the secret.
_SHORTEST = 4


class SecretMasker:
    """Replaces the secrets that it knows, also where they were quoted for a URL or for ``repr``."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # Longest first: one secret may be the beginning of another.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def text(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: object) -> object:
        """``value`` with the text in it masked; what is neither JSON nor a number becomes masked text."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return self.text(str(value))


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}
