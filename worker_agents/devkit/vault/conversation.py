"""Calls at the reference Vault: what is logged of them, and how its faults look."""

from __future__ import annotations

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker_agents.devkit.conversation import CALL, Conversation, DropConnection, parsed
from worker_agents.devkit.vault.answers import Refused, errors
from worker_agents.devkit.vault.api import VaultApi
from worker_agents.devkit.vault.faults import Fault
from worker_agents.devkit.vault.log import Call, CallLog

_PREFIX = "/v1/"


class VaultConversation(Conversation[Call, Fault]):
    """Guards ``api``."""

    def __init__(self, api: VaultApi, log: CallLog, drop: DropConnection) -> None:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await api.answer(scope[CALL])(scope, receive, send)

        super().__init__(serve, log, drop)
        self._vault = api

    def _arrived(self, scope: Scope, body: bytes) -> Call:
        headers = Headers(scope=scope)
        return Call(
            method=scope["method"],
            path=scope["path"].removeprefix(_PREFIX),
            query=dict(QueryParams(scope["query_string"])),
            token=headers.get("x-vault-token"),
            namespace=headers.get("x-vault-namespace"),
            request_header=headers.get("x-vault-request") == "true",
            body=parsed(body),
        )

    def _refusal(self, scope: Scope, _: Call) -> Response | None:
        return None if scope["path"].startswith(_PREFIX) else errors(Refused(404))

    def _take_fault(self, _: Scope, call: Call) -> Fault | None:
        return next((fault for fault in self._vault.faults if fault.strikes(call.path)), None)

    def _spoiled_answer(self, fault: Fault) -> Response:
        if fault.kind == "raw":
            return Response(fault.body, fault.status, headers={"Content-Type": fault.content_type})
        return errors(Refused(fault.status, *fault.errors))
