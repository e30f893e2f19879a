"""Where the source under test, or to be scanned, comes from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class SourceProvider(Protocol):
    """A directory on a mounted volume, or a fresh checkout; see ``clients.workspace``."""

    def source(
        self, *, working_dir: str | None, repo_url: str | None, revision: str | None, log: Callable[[str], None]
    ) -> AbstractAsyncContextManager[Path]: ...
