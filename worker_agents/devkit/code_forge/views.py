"""What the API shows of a piece of work; the peer's field names, peculiarities included. Pure functions."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from worker_agents.devkit.code_forge.behaviour import Peculiarities, Phase, Progress, Script
from worker_agents.devkit.code_forge.work import Work

MOCK_PROGRESS: Final = Progress(queued=0, processing=3)
_MOCK_STAGES: Final = ("queued", "building", "testing", "packaging", "completed")
_SUCCESSES: Final = frozenset({"completed", "succeeded", "requires_review"})
_PIPELINE_STATUS: Final = {Phase.QUEUED: ("queued", "QUEUED"), Phase.PROCESSING: ("running", "BUILDING")}
# A pipeline that ends so is stored, and read, as something else.
_STORED_AS: Final = {"requires_review": "completed", "partial": "failed"}
_GENERATION_STATUS: Final = {Phase.QUEUED: "queued", Phase.PROCESSING: "processing"}


def generation_status(work: Work, script: Script, peculiarities: Peculiarities) -> str:
    """Return the stored status of a generation."""
    return _GENERATION_STATUS.get(work.phase) or _ending(script, peculiarities)[0]


def generation(work: Work, script: Script, peculiarities: Peculiarities) -> dict[str, Any]:
    """Return the body of GET /api/v1/generate/{id}."""
    status = generation_status(work, script, peculiarities)
    succeeded = work.phase is Phase.ENDED and status in _SUCCESSES
    return {
        "request_id": work.id,
        "status": status,
        "artifacts": [_code_artifact(work, n) for n in range(script.artifacts)] if succeeded else [],
        "pipeline_id": work.id if succeeded else None,
        "error": _shown_error(work, script, peculiarities),
        "created_at": _timestamp(work.created_at),
        "updated_at": _timestamp(work.updated_at),
        "code_preview": f"# generated from {work.subject}\n" if succeeded else None,
    }


def generations(works: Iterable[tuple[Work, str]]) -> dict[str, Any]:
    """Return the body of GET /api/v1/generate for works and their statuses."""
    requests = [
        {
            "request_id": work.id,
            "status": status,
            "ticket_id": work.ticket_id,
            "template_id": work.subject,
            "created_at": _timestamp(work.created_at),
            "updated_at": _timestamp(work.updated_at),
        }
        for work, status in works
    ]
    counts = Counter(str(request["status"]) for request in requests)
    return {"total": len(requests), "requests": requests, "status_counts": dict(counts)}


def started_pipeline(work: Work, peculiarities: Peculiarities) -> dict[str, Any]:
    """Return the body of POST /api/v1/pipelines."""
    body: dict[str, Any] = {"pipeline_id": work.id, "status": "queued"}
    if not peculiarities.bundled_mock:
        # Made of the pipeline's own id, so that a repeated start shows the same one.
        foreign = str(uuid.uuid5(uuid.NAMESPACE_URL, work.id))
        body["ticket_id"] = foreign if peculiarities.foreign_ticket_id else work.ticket_id
    return body


def pipeline(work: Work, script: Script, peculiarities: Peculiarities, now: float) -> dict[str, Any]:
    """Return the body of GET /api/v1/pipelines/{id}."""
    if peculiarities.bundled_mock:
        return _mock_pipeline(work)
    script = _as_stored(script, peculiarities)
    status, stage = _PIPELINE_STATUS.get(work.phase) or _ending(script, peculiarities)
    succeeded = work.phase is Phase.ENDED and status in _SUCCESSES
    until = work.updated_at if work.phase is Phase.ENDED else now
    body: dict[str, Any] = {
        "pipeline_id": work.id,
        "status": status,
        "stage": [*("QUEUED", "BUILDING")[: work.phase], stage] if peculiarities.stage_as_list else stage,
        "duration_ms": round((until - work.created_at) * 1000),
        "artifacts": [_built_artifact(work, n) for n in range(script.artifacts)] if succeeded else [],
        "error": _shown_error(work, script, peculiarities),
        "created_at": _timestamp(work.created_at),
        "updated_at": _timestamp(work.updated_at),
    }
    if not peculiarities.no_sbom:
        body["sbom"] = {"format": "CycloneDX", "version": "1.5", "components": []} if succeeded else None
        body["signature"] = f"signature-{work.id}" if succeeded else None
    return body


def _mock_pipeline(work: Work) -> dict[str, Any]:
    reached = min(work.polls, len(_MOCK_STAGES) - 1)
    done = reached == len(_MOCK_STAGES) - 1
    return {
        "pipeline_id": work.id,
        # The mock moves its stage and leaves the status at queued until the end.
        "status": "completed" if done else "queued",
        "stage": _MOCK_STAGES[reached],
        "duration_ms": 5000 if done else 0,
        "artifacts": [{"type": "image", "name": f"{work.subject}:latest"}] if done else [],
        "stages": [
            {"name": name, "status": "completed" if index < reached or done else "running", "duration_ms": 1000}
            for index, name in enumerate(_MOCK_STAGES[: reached + 1])
        ],
    }


def _as_stored(script: Script, peculiarities: Peculiarities) -> Script:
    if not peculiarities.stores_other_status:
        return script
    return replace(script, outcome=_STORED_AS.get(script.outcome, script.outcome))


def _ending(script: Script, peculiarities: Peculiarities) -> tuple[str, str]:
    status = "failed" if _is_spoiled(script, peculiarities) else script.outcome
    return status, "COMPLETED" if status in _SUCCESSES else "FAILED"


def _is_spoiled(script: Script, peculiarities: Peculiarities) -> bool:
    return (
        script.outcome in _SUCCESSES
        and script.artifacts > 0
        and script.datetime_artifacts
        and peculiarities.datetime_artifacts_fail
    )


def _shown_error(work: Work, script: Script, peculiarities: Peculiarities) -> str | None:
    if work.phase is Phase.ENDED and _is_spoiled(script, peculiarities):
        return "Object of type datetime is not JSON serializable"
    if work.phase is Phase.ENDED and script.outcome not in _SUCCESSES:
        return script.error
    return "None" if peculiarities.none_as_text else None


def _code_artifact(work: Work, number: int) -> dict[str, Any]:
    return {
        "type": "code",
        "language": "python",
        "content_hash": _digest(work, number),
        "size_bytes": 1024,
        "generated_at": _timestamp(work.updated_at),
        "template_id": work.subject,
        "artifact_id": f"{work.id}-{number}",
        "confidence_score": 0.85,
        "generation_method": "TEMPLATE",
    }


def _built_artifact(work: Work, number: int) -> dict[str, Any]:
    return {
        "artifact_id": f"{work.id}-{number}",
        "type": "image",
        "name": f"{work.subject}:latest",
        "checksum": f"sha256:{_digest(work, number)}",
        "created_at": _timestamp(work.updated_at),
    }


def _digest(work: Work, number: int) -> str:
    return hashlib.sha256(f"{work.id}-{number}".encode()).hexdigest()


def _timestamp(seconds: float) -> str:
    """Write a time as the peer does: UTC without saying so."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
