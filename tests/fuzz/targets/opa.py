"""OPA's answer to a policy query, and the verdict in it. Input: see ``answers``."""

import orjson

from tests.fuzz.harness import Target
from tests.fuzz.targets.answers import HEAD, answers_to
from worker_agents.clients.opa import Decision, OpaClient
from worker_agents.executors.validate_policy import judge_policy
from worker_agents.executors.violations import MAX_TEXT_LENGTH

_PATHS = ("policy/allow", "team/deny", "team/package")


def check(content: bytes) -> None:
    """A decision or a typed error; whatever was decided, the verdict can be published, and passes only where it says so."""
    (decision,) = answers_to(content, lambda http: OpaClient(http).decide("policy/allow", {}, {}))
    if decision is None:
        return
    assert isinstance(decision, Decision)
    for path in _PATHS:
        verdict = judge_policy(path, decision)
        output = orjson.loads(orjson.dumps({**verdict.output(), "metadata": verdict.metadata}))
        if verdict.problem is not None:
            verdict.problem.encode()
        for one in output["violations"]:
            assert all(len(text) <= MAX_TEXT_LENGTH for text in one.values() if isinstance(text, str))
        if verdict.passed:
            _said_so(decision.result, path)


def _said_so(result: object, path: str) -> None:
    match result:
        case True | []:
            return
        case {"allow": True}:
            return
        case {"violations": [] as listed} | {"violations": {} as listed} if not listed and result.get("allow") is None:
            return
        case {} if not result and path == "team/deny":
            return
    raise AssertionError(f"passed by {result!r}"[:500])


TARGET = Target(
    "opa",
    check,
    tokens=(
        *HEAD,
        *(
            b'{"result":',
            b'"allow":',
            b'"violations":',
            b'"deny":',
            b'"msg":',
            b'"severity":',
            b'"rule_id":',
            b'"resource":',
        ),
        *(b'"decision_id":', b'"warning":', b'"message":', b'"errors":', b'"code":', b'"location":', b"true", b"false"),
    ),
)
