"""Certificates for one test session: a broker's, clients' good and bad, and an authority that nobody trusts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Certificates:
    """PEM files in one folder. The broker's certificate is good for ``127.0.0.1`` only, not for ``localhost``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._stranger = trustme.CA()
        self.authority = folder / "authority.pem"
        self.stranger = folder / "stranger.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))
        self._stranger.cert_pem.write_to_path(str(self.stranger))

    def broker(self) -> Path:
        """Key and chain in one file, as Kafka's PEM key stores want it."""
        leaf = self._authority.issue_cert("127.0.0.1", common_name="broker")
        store = self._folder / "broker.pem"
        store.write_bytes(pkcs8(leaf) + b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return store

    def client(self, name: str) -> dict[str, str]:
        """Settings of a worker that shows a certificate for ``CN=name``."""
        return self._settings(name, self._authority.issue_cert(f"{name}.test", common_name=name))

    def expired_client(self, name: str) -> dict[str, str]:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        leaf = self._authority.issue_cert(
            f"{name}.test", common_name=name, not_before=yesterday - timedelta(days=1), not_after=yesterday
        )
        return self._settings(f"{name}-expired", leaf)

    def foreign_client(self, name: str) -> dict[str, str]:
        """Signed by the authority that the broker does not know."""
        return self._settings(f"{name}-foreign", self._stranger.issue_cert(f"{name}.test", common_name=name))

    def locked_client(self, name: str) -> dict[str, str]:
        """The key is encrypted, and there is no setting for its password."""
        leaf = self._authority.issue_cert(f"{name}.test", common_name=name)
        settings = self._settings(f"{name}-locked", leaf)
        Path(settings["KAFKA_SSL_KEY_LOCATION"]).write_bytes(pkcs8(leaf, password=b"something"))
        return settings

    def _settings(self, file_name: str, leaf: trustme.LeafCert) -> dict[str, str]:
        key, chain = self._folder / f"{file_name}.key", self._folder / f"{file_name}.pem"
        leaf.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return {"KAFKA_SSL_CERTIFICATE_LOCATION": str(chain), "KAFKA_SSL_KEY_LOCATION": str(key)}


def pkcs8(leaf: trustme.LeafCert, password: bytes | None = None) -> bytes:
    """The key in the only format that Java reads."""
    key = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
