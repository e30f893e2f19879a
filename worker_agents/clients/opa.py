"""Open Policy Agent: decisions over its data API (``contracts.md`` 3).

What its server does and this client keeps apart:

- a rule that is undefined and a path that does not exist are both HTTP 200 without ``result``: a decision that was not
  made, never one that allows;
- a policy that contradicts itself is HTTP 500, like a server that is in trouble; but it says so, it stays that way, and
  it must not be mistaken for an outage, which may be answered with a simulated pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from worker_agents.clients.http import Answer, Call, HttpClient
from worker_agents.model.errors import IntegrationRejected

MAX_PATH_LENGTH: Final = 500

_EVALUATION_FAILED: Final = 500
_MAX_PROBLEMS = 3
_MAX_PROBLEM_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Decision:
    """What OPA answered. ``defined`` is False when there is no such rule, or none of its bodies holds.

    ``result`` is any JSON; ``decision_id`` is there when the server logs its decisions; ``warning`` is its own words.
    """

    defined: bool
    result: Any = None
    decision_id: str | None = None
    warning: str | None = None


def policy_segments(path: str) -> tuple[str, ...]:
    """The parts of a path such as ``policy/allow``: a package's, then the rule's name.

    A slash in front or behind is ignored. Raises ``ValueError`` with the problem.
    """
    if len(path) > MAX_PATH_LENGTH:
        raise ValueError(f"is longer than {MAX_PATH_LENGTH} characters")
    segments = tuple(path.strip("/").split("/"))
    if any(segment in {"", ".", ".."} or not segment.isprintable() for segment in segments):
        raise ValueError("must be names separated by slashes, such as policy/allow: no empty ones, no '.' or '..'")
    return segments


class OpaClient:
    """OPA's data API. ``http`` is given over: ``aclose`` closes it."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def decide(
        self, policy_path: str, policy_input: Any, headers: Mapping[str, str], *, within: float | None = None
    ) -> Decision:
        """Ask for the value of ``policy_path`` with ``policy_input``, which is any JSON, ``within`` so many seconds.

        Raises ``ValueError`` for a path that is none, :class:`IntegrationRejected` when OPA refuses the question (400,
        401) or cannot evaluate the policy, and :class:`IntegrationUnavailable` when it cannot be reached or talks nonsense.
        """
        call = Call(
            operation="decide",
            method="POST",
            path="/v1/data/" + "/".join(quote(segment, safe="") for segment in policy_segments(policy_path)),
            headers=headers,
            body={"input": policy_input},
            reads_only=True,
            accepted=frozenset({_EVALUATION_FAILED}),
        )
        answer = await self._http.send(call, _decision_or_problem, within=within)
        if isinstance(answer, str):
            raise IntegrationRejected(f"opa decide: the policy cannot be evaluated: {answer}")
        return answer

    async def aclose(self) -> None:
        await self._http.aclose()


def _decision_or_problem(answer: Answer) -> Decision | str:
    """The decision, or what is wrong with the policy. A 500 that names no error of the policy is nonsense: an outage."""
    document = answer.json_object()
    if not answer.is_success:
        return _problem(document.get("errors"))
    decision_id, warning = document.get("decision_id"), document.get("warning")
    result = document.get("result")
    return Decision(
        defined=result is not None,
        result=result,
        decision_id=decision_id if isinstance(decision_id, str) else None,
        warning=str(warning.get("message")) if isinstance(warning, dict) else None,
    )


def _problem(errors: object) -> str:
    found = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    if not found:
        raise ValueError("an error of the server, not of the policy")
    words = (f"{each.get('code')}: {each.get('message')}" for each in found[:_MAX_PROBLEMS])
    return "; ".join(" ".join(text.split())[:_MAX_PROBLEM_LENGTH] for text in words)
