"""Names of what a client can ask of Argo CD; routes, faults and the call log share them."""

from enum import StrEnum
from typing import Final


class Operation(StrEnum):
    """One call of the API, or ``OTHER`` for anything that is not offered."""

    CREATE = "create"
    LIST = "list"
    GET = "get"
    DELETE = "delete"
    SYNC = "sync"
    TERMINATE = "terminate"
    RESOURCE_TREE = "resource_tree"
    SESSION = "session"
    USERINFO = "userinfo"
    VERSION = "version"
    OTHER = "other"


EVERYTHING: Final = frozenset(Operation)
WITHOUT_TOKEN: Final = frozenset({Operation.SESSION, Operation.VERSION, Operation.OTHER})
