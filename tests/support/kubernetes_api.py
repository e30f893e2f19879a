"""A Kubernetes API server as one identity sees it: plain calls, whose refusals are answers that a test may look at."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

Object = dict[str, Any]


class KubernetesApi:
    """Paths are those of the API: ``/api/v1/namespaces/default/pods``; options are those of the query."""

    def __init__(self, url: str, *, authority: Path, certificate: Path | None = None, token: str = "") -> None:
        """``certificate`` is a file with key and chain; ``token`` a bearer token."""
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, verify=context, headers=headers, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Object | None = None, **options: str) -> httpx.Response:
        """The answer, whatever it is. A PATCH is a merge patch."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else json.dumps(body)
        return self._http.request(method, path, content=content, headers={"content-type": kind}, params=options)

    def get(self, path: str, **options: str) -> Object:
        return _expected(self.call("GET", path, **options))

    def list(self, path: str, **options: str) -> list[Object]:
        items: list[Object] = self.get(path, **options)["items"]
        return items

    def patch(self, path: str, body: Object) -> Object:
        return _expected(self.call("PATCH", path, body))

    def post(self, manifest: Object, namespace: str = "", **options: str) -> httpx.Response:
        """The answer to the creation of what ``manifest`` describes, in its own namespace or the one given."""
        return self.call("POST", self._collection(manifest, namespace), manifest, **options)

    def create(self, manifest: Object, namespace: str = "") -> Object:
        return _expected(self.post(manifest, namespace))

    def wait(self, collection: str, name: str, met: Callable[[Object], object], seconds: int = 30) -> Object:
        """Return the object as soon as it exists and ``met`` holds for it. Raises ``TimeoutError``.

        The API server tells of each change, beginning with the state at the start.
        """
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(seconds)}
        last: Object | None = None
        with self._http.stream("GET", collection, params=query, timeout=seconds + 5) as changes:
            for line in changes.iter_lines():
                last = json.loads(line)
                if last["type"] in {"ADDED", "MODIFIED"} and met(last["object"]):
                    return dict(last["object"])
        raise TimeoutError(f"{collection}/{name} is not what was waited for after {seconds} s: {json.dumps(last)}")

    def contents(self, namespace: str) -> set[tuple[str, str]]:
        """Kind and name of everything in a namespace but events."""
        return {
            (resource["kind"], item["metadata"]["name"])
            for base in self._bases()
            for resource in self.get(base)["resources"]
            if resource["namespaced"] and "list" in resource["verbs"] and resource["kind"] != "Event"
            for item in self.list(f"{base}/namespaces/{namespace}/{resource['name']}")
        }

    def _collection(self, manifest: Object, namespace: str) -> str:
        version = manifest["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        kinds = {one["kind"]: one for one in self.get(base)["resources"] if "/" not in one["name"]}
        resource = kinds[manifest["kind"]]
        if not resource["namespaced"]:
            return f"{base}/{resource['name']}"
        return f"{base}/namespaces/{manifest['metadata'].get('namespace', namespace)}/{resource['name']}"

    def _bases(self) -> Iterator[str]:
        yield "/api/v1"
        for group in self.get("/apis")["groups"]:
            yield f"/apis/{group['preferredVersion']['groupVersion']}"


def _expected(answer: httpx.Response) -> Object:
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    body: Object = answer.json()
    return body
