"""What can go wrong in a call to Vault: the only place where exceptions of hvac and requests become ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import requests.exceptions
from hvac import exceptions

from worker_agents.clients.http_errors import AS_OFTEN_AS_ALLOWED, REPEATS_OF_A_FAULT, AnswerUnreadable, Trouble
from worker_agents.model.errors import TaskError


class ProofUnreadable(Exception):
    """What this worker would log in with cannot be read; the message is a sentence."""


class CallFailed(Exception):
    """A call came to nothing, after ``tries`` tries. ``may_pass`` says that a refusal need not stay one."""

    def __init__(self, trouble: Trouble, tries: int = 1, *, may_pass: bool = False) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble
        self.tries = tries
        self.may_pass = may_pass

    @property
    def is_forbidden(self) -> bool:
        """403: the token or the policy, which Vault does not tell apart."""
        return self.trouble is FORBIDDEN

    def worded(self, message: str, *, may_pass: bool = False) -> CallFailed:
        """The same failure in better words."""
        return CallFailed(replace(self.trouble, message=message), self.tries, may_pass=may_pass)

    def error(self, what: str) -> TaskError:
        """The error for whoever wanted ``what``."""
        error = self.trouble.error(what, tries=self.tries, repeatable=True)
        error.retryable = error.retryable or self.may_pass
        return error


def trouble_of(error: Exception) -> Trouble:
    """What an exception that came out of hvac means. Its text is never used: it may hold a token."""
    match error:
        case ProofUnreadable():
            return _rejected(str(error))
        case exceptions.InvalidPath():
            return _rejected(_why_nothing_is_there(error.json))
        case exceptions.InvalidRequest():
            return _rejected(_known_words(error.errors) or "the request was refused (HTTP 400)")
    return next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), _NONSENSE)


def _rejected(message: str) -> Trouble:
    return Trouble(message, outcome="rejected", may_have_acted=False)


FORBIDDEN: Final = _rejected("forbidden")
_NONSENSE: Final = Trouble("the answer is none of Vault's: check VAULT_ADDRESS", repeats=REPEATS_OF_A_FAULT)

# From the special to the general.
_TROUBLES: Final[tuple[tuple[type[Exception], Trouble], ...]] = (
    (exceptions.Forbidden, FORBIDDEN),
    (exceptions.Unauthorized, _rejected("not authorised (HTTP 401)")),
    (exceptions.ParamValidationError, _rejected("the request cannot be sent")),
    (exceptions.RateLimitExceeded, Trouble("the rate limit is exceeded (HTTP 429)", repeats=AS_OFTEN_AS_ALLOWED)),
    (exceptions.InternalServerError, Trouble("internal error (HTTP 500)", repeats=REPEATS_OF_A_FAULT)),
    (exceptions.VaultNotInitialized, Trouble("Vault is not initialised (HTTP 501)")),
    (exceptions.BadGateway, Trouble("bad gateway (HTTP 502)", repeats=AS_OFTEN_AS_ALLOWED)),
    (exceptions.VaultDown, Trouble("Vault is sealed or away (HTTP 503)", repeats=AS_OFTEN_AS_ALLOWED)),
    # 412 (a standby that lags behind), 472, 473, 504 and whatever else: none says that the request is wrong.
    (exceptions.VaultError, Trouble("an unexpected status", repeats=AS_OFTEN_AS_ALLOWED)),
    (requests.exceptions.SSLError, Trouble("TLS failure: check VAULT_ADDRESS and VAULT_CACERT")),
    (requests.exceptions.ConnectTimeout, Trouble("no connection in time", "timeout", AS_OFTEN_AS_ALLOWED)),
    (requests.exceptions.Timeout, Trouble("no answer in time", "timeout", REPEATS_OF_A_FAULT)),
    (requests.exceptions.TooManyRedirects, Trouble("redirected in circles: check VAULT_ADDRESS")),
    (requests.exceptions.JSONDecodeError, _NONSENSE),
    (requests.exceptions.RequestException, Trouble("no connection", repeats=AS_OFTEN_AS_ALLOWED)),
    (TimeoutError, Trouble("no answer in time", "timeout", REPEATS_OF_A_FAULT)),
)

FOREIGN: Final = (
    exceptions.VaultError,
    requests.exceptions.RequestException,
    TimeoutError,
    ProofUnreadable,
    AnswerUnreadable,
    # hvac looks into answers without checking what they are.
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What calls of hvac, and our reading of its answers, are known to raise."""

# Of Vault's own words only these are recognised, and said in ours. Source: vault-plugin-auth-kubernetes, vault/token_store.
_WORDS: Final[Mapping[str, str]] = {
    "invalid role name": "there is no such role",
    "lease is not renewable": "the token cannot be renewed",
    "missing client token": "no token was sent",
}


def _known_words(errors: Any) -> str:
    words = " ".join(map(str, errors)) if isinstance(errors, list) else ""
    return next((ours for theirs, ours in _WORDS.items() if theirs in words), "")


def _why_nothing_is_there(document: Any) -> str:
    """A deleted or destroyed version is a 404 with a body; a path without a secret is one without."""
    data = document.get("data") if isinstance(document, dict) else None
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if isinstance(metadata, dict) and (metadata.get("destroyed") or metadata.get("deletion_time")):
        return f"its latest version was {'destroyed' if metadata.get('destroyed') else 'deleted'}"
    return "there is no such secret: check path and mount (the path is without mount and without data/)"
