"""The key-value engine, version 2: versions that can be deleted, brought back and destroyed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from worker_agents.devkit.vault.answers import Refused, document, timestamp


@dataclass(slots=True)
class Version:
    """Times are seconds since the epoch. ``deleted_at`` may lie in the future."""

    number: int
    values: Mapping[str, Any] = field(repr=False)
    created_at: float
    deleted_at: float | None = None
    destroyed: bool = False

    def metadata(self) -> dict[str, Any]:
        return {
            "created_time": timestamp(self.created_at),
            "custom_metadata": None,
            "deletion_time": timestamp(self.deleted_at),
            "destroyed": self.destroyed,
            "version": self.number,
        }


class KeyValueEngine:
    """One mount. ``lease_seconds`` is told with every secret that is read; the real engine tells 0."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._secrets: dict[str, list[Version]] = {}
        self.lease_seconds = 0

    def write(
        self, path: str, values: Mapping[str, Any], *, cas: int | None = None, delete_after: float | None = None
    ) -> Version:
        """Add a version. ``cas`` is the version that must be the latest now, 0 for none.

        Raises:
            Refused: ``cas`` does not fit.
        """
        versions = self._secrets.setdefault(path, [])
        if cas is not None and cas != len(versions):
            raise Refused(400, "check-and-set parameter did not match the current version")
        now = self._now()
        version = Version(len(versions) + 1, dict(values), now, None if delete_after is None else now + delete_after)
        versions.append(version)
        return version

    def delete(self, path: str, *numbers: int) -> None:
        """Mark versions, or the latest, as deleted."""
        for version in self._versions(path, numbers):
            version.deleted_at = self._now()

    def undelete(self, path: str, *numbers: int) -> None:
        for version in self._versions(path, numbers):
            version.deleted_at = None

    def destroy(self, path: str, *numbers: int) -> None:
        """Forget the values of versions, or of the latest, for ever."""
        for version in self._versions(path, numbers):
            version.destroyed, version.values = True, {}

    def read(self, path: str, number: int = 0) -> Response:
        """The answer to a reading; 0 is the latest version.

        Raises:
            Refused: there is no such secret or version.
        """
        versions = self._secrets.get(path, [])
        if not versions or not 0 <= number <= len(versions):
            raise Refused(404)
        version = versions[number - 1]
        if version.destroyed or (version.deleted_at is not None and version.deleted_at <= self._now()):
            return document(data={"data": None, "metadata": version.metadata()}, status=404, mount_type="kv")
        data = {"data": dict(version.values), "metadata": version.metadata()}
        return document(data=data, lease_seconds=self.lease_seconds, mount_type="kv")

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Response:
        """Serve ``path`` below the mount.

        Raises:
            Refused: as Vault would.
        """
        operation, _, secret = path.partition("/")
        match (method, operation):
            case ("GET", "data"):
                return self.read(secret, _number(query.get("version", "0")))
            case ("POST" | "PUT", "data"):
                return self._write(secret, body)
            case ("DELETE", "data"):
                self.delete(secret)
            case ("POST" | "PUT", "delete" | "undelete" | "destroy"):
                action = {"delete": self.delete, "undelete": self.undelete, "destroy": self.destroy}[operation]
                action(secret, *_versions_of(body))
            case _:
                # What a client of version 1 gets to see.
                warning = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API "
                return document(warnings=[f"{warning}endpoints to use."], status=404)
        return Response(status_code=204)

    def _write(self, secret: str, body: Any) -> Response:
        if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
            raise Refused(400, "no data provided")
        options = body.get("options")
        cas = options.get("cas") if isinstance(options, dict) else None
        return document(data=self.write(secret, body["data"], cas=cas).metadata(), mount_type="kv")

    def _versions(self, path: str, numbers: Sequence[int]) -> list[Version]:
        versions = self._secrets.get(path, [])
        wanted = numbers or (len(versions),)
        return [version for version in versions if version.number in wanted]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Refused(400, "failed to parse version")
    return int(text)


def _versions_of(body: Any) -> list[int]:
    versions = body.get("versions") if isinstance(body, dict) else None
    if not isinstance(versions, list) or not versions:
        raise Refused(400, "No version number provided")
    return [_number(str(each)) for each in versions]
