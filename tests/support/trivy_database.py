"""A small database of vulnerabilities for the real Trivy, made here: the real one cannot be downloaded where tests run.

Trivy's database is one bbolt file (https://github.com/etcd-io/bbolt, `page.go` and `meta.go`) of nested buckets: the source of
an ecosystem, package, vulnerability (https://github.com/aquasecurity/trivy-db). This one fits one page, so buckets are inline.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Bucket = Mapping[str, "Bucket | bytes"]

VULNERABLE = "requests==2.0.0\n"
"""A requirements.txt with :data:`VULNERABILITY`."""
VULNERABILITY = "CVE-2018-18074"

_SOURCE = "pip::GitHub Security Advisory Pip"
_ADVISORY = {"PatchedVersions": ["2.20.0"], "VulnerableVersions": ["<2.20.0"]}
_DETAILS = {"Title": "requests sends credentials over http", "Severity": "HIGH"}
_TIMES = {"NextUpdate": "2099-01-01T00:00:00Z", "UpdatedAt": "2026-01-01T00:00:00Z"}

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PAGE = 4096
_LEAF, _META, _FREELIST = 0x02, 0x04, 0x10
_IS_BUCKET = 1


def trivy_database(*, package: str = "requests") -> dict[str, bytes]:
    """Its two files by name. Of another ``package`` :data:`VULNERABLE` knows nothing."""
    content: Bucket = {
        "data-source": {
            _SOURCE: _json({"ID": "ghsa", "Name": "GitHub Security Advisory Pip", "URL": "https://example.com"})
        },
        _SOURCE: {package: {VULNERABILITY: _json(_ADVISORY)}},
        "vulnerability": {VULNERABILITY: _json(_DETAILS)},
    }
    return {"trivy.db": _bbolt_file(content), "metadata.json": _json({"Version": 2, **_TIMES})}


def java_database() -> dict[str, bytes]:
    """One that can be fetched, and knows nothing."""
    return {"trivy-java.db": b"", "metadata.json": _json({"Version": 1, **_TIMES})}


def write_oci_layout(folder: Path, files: Mapping[str, bytes], kind: str = "db") -> None:
    """Write the artifact that a database is in a registry, ready for ``crane push``."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def stored(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    layer_type = f"application/vnd.aquasec.trivy.{kind}.layer.v1.tar+gzip"
    title = {"org.opencontainers.image.title": f"{kind}.tar.gz"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": stored(b"{}", "application/vnd.aquasec.trivy.config.v1+json"),
        "layers": [stored(_tar(files), layer_type, annotations=title)],
    }
    index = {"schemaVersion": 2, "manifests": [stored(_json(manifest), _MANIFEST)]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _bbolt_file(root: Bucket) -> bytes:
    leaf = _leaf(3, root)
    assert len(leaf) <= _PAGE
    freelist = struct.pack("<QHHI", 2, _FREELIST, 0, 0)
    return b"".join(page.ljust(_PAGE, b"\0") for page in (_meta(0), _meta(1), freelist, leaf))


def _meta(number: int) -> bytes:
    """Root bucket on page 3, free pages on page 2, four pages in all."""
    meta = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, _PAGE, 0, 3, 0, 2, 4, number)
    return struct.pack("<QHHI", number, _META, 0, 0) + meta + struct.pack("<Q", _fnv_1a(meta))


def _leaf(number: int, bucket: Bucket) -> bytes:
    """A page: its header, an element for each entry, then keys and values."""
    entries = [(name.encode(), *_value(value)) for name, value in sorted(bucket.items())]
    header = struct.pack("<QHHI", number, _LEAF, len(entries), 0)
    elements, data = b"", b""
    for position, (key, value, flags) in enumerate(entries):
        distance = 16 * (len(entries) - position) + len(data)
        elements += struct.pack("<IIII", flags, distance, len(key), len(value))
        data += key + value
    return header + elements + data


def _value(value: Bucket | bytes) -> tuple[bytes, int]:
    if isinstance(value, bytes):
        return value, 0
    return struct.pack("<QQ", 0, 0) + _leaf(0, value), _IS_BUCKET


def _fnv_1a(content: bytes) -> int:
    digest = 0xCBF29CE484222325
    for byte in content:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest
