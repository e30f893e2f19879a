"""The kinds of value that settings have, and how their text is read. Messages never repeat the value."""

from __future__ import annotations

import json
import re
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.model.hosts import ip_of, is_host_name

VAULT_PREFIX = "vault:"

_LONGEST_WAIT = 30 * 86_400

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_WORKER_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_POD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_PAIR = re.compile(r"[^=\s,]+\s*=[^,]*")
_HIGHEST_PORT = 65_535
_NO_ADDRESS = "must be an address that starts with http:// or https:// and names a host"


def _read_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    items = _read_json_list(text) if text.startswith("[") and text.endswith("]") else text.split(",")
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def _read_json_list(text: str) -> list[str]:
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("must be comma-separated text or a JSON list of strings")
    return items


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _upper_all(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.upper() for value in values))


def _lower_all(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.lower() for value in values))


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("names nothing; leave it unset for the default")
    return values


def _check_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port or an IPv6 address that is none; its own message would repeat the value
        raise ValueError(_NO_ADDRESS) from error
    if not is_address or re.search(r"\s", value):
        raise ValueError(_NO_ADDRESS)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password: they belong into a token setting")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path, without '?' or '#'")
    return value.rstrip("/")


def _check_servers(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        match = _HOST_AND_PORT.fullmatch(value)
        if match is None or not 0 < int(match["port"] or 1) <= _HIGHEST_PORT:
            raise ValueError("must be host:port pairs without a scheme, such as kafka-0:9092,kafka-1:9092")
    return values


def _check_host(value: str) -> str:
    """A host name or an address; an IPv6 address loses its brackets."""
    if not value:
        return value
    has_brackets = value.startswith("[") and value.endswith("]")
    address = ip_of(value[1:-1] if has_brackets else value)
    if address is not None and address.is_unspecified:
        raise ValueError("must be one address that others reach, not that of every interface")
    if (address is None and not is_host_name(value)) or (has_brackets and not isinstance(address, IPv6Address)):
        raise ValueError("must be a host name or an IP address, without scheme, port, path or blanks")
    return str(address or value)


def _check_topic(value: str) -> str:
    if not _TOPIC_NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError("must be a topic name: up to 249 of the characters a-z A-Z 0-9 . _ -")
    return value


def _check_pod_name(value: str) -> str:
    if value and not _POD_NAME.fullmatch(value):
        raise ValueError("must be a name of Kubernetes: up to 253 of the characters a-z 0-9 . -")
    return value


def _check_worker_id(value: str) -> str:
    if not _WORKER_ID.fullmatch(value):
        raise ValueError("must be up to 200 of the characters a-z A-Z 0-9 . _ : -")
    return value


def _check_directory(value: Path) -> Path:
    if not value.is_absolute() or value == Path(value.anchor):
        raise ValueError("must be an absolute path, and not the root directory")
    return value


def _check_git_urls(values: tuple[str, ...]) -> tuple[str, ...]:
    AllowedGitUrls(values)
    return values


def _check_search_path(value: str) -> str:
    # An empty entry means the current directory, which holds the code of others.
    if not all(entry.startswith("/") for entry in value.split(":")):
        raise ValueError("must be absolute directories separated by colons, such as /usr/local/bin:/usr/bin:/bin")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("contains a character that cannot be sent in an HTTP header")
    return value


def _check_pairs(value: str) -> str:
    if not all(_PAIR.fullmatch(pair.strip()) for pair in value.split(",") if pair.strip()):
        raise ValueError("must be name=value pairs separated by commas")
    return value


def _check_secret_pairs(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    # A reference is checked again when it has become the secret.
    if not text.startswith(VAULT_PREFIX):
        _check_pairs(text)
    return _check_token(value)


def _check_pem_file(value: str) -> str:
    if not value:
        return value
    try:
        begins = b"-----BEGIN " in Path(value).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if not begins:
        raise ValueError("is no PEM file")
    return value


TextList = Annotated[tuple[str, ...], BeforeValidator(_read_list)]
NonEmptyList = Annotated[TextList, AfterValidator(_not_empty)]
TaskTypes = Annotated[NonEmptyList, AfterValidator(_upper_all)]
LowerList = Annotated[NonEmptyList, AfterValidator(_lower_all)]
UpperList = Annotated[TextList, AfterValidator(_upper_all)]
Servers = Annotated[NonEmptyList, AfterValidator(_check_servers)]
Host = Annotated[str, AfterValidator(_check_host)]
Topic = Annotated[str, AfterValidator(_check_topic)]
WorkerId = Annotated[str, AfterValidator(_check_worker_id)]
PodName = Annotated[str, AfterValidator(_check_pod_name)]
Url = Annotated[str, AfterValidator(_check_url)]
Directory = Annotated[Path, AfterValidator(_check_directory)]
GitUrls = Annotated[TextList, AfterValidator(_check_git_urls)]
SearchPath = Annotated[str, AfterValidator(_check_search_path)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
KeyValuePairs = Annotated[str, AfterValidator(_check_pairs)]
SecretPairs = Annotated[SecretStr, AfterValidator(_check_secret_pairs)]
PemFile = Annotated[str, AfterValidator(_check_pem_file)]
Port = Annotated[int, Field(ge=0, le=_HIGHEST_PORT)]
Slots = Annotated[int, Field(ge=1, le=10_000)]
Seconds = Annotated[float, Field(gt=0, le=_LONGEST_WAIT)]
SecondsFromZero = Annotated[float, Field(ge=0, le=_LONGEST_WAIT)]
UpperCase = BeforeValidator(_upper)
LowerCase = BeforeValidator(_lower)
