"""Code Forge's answers. Input: see ``answers``."""

import math

import orjson

from tests.fuzz.harness import Target
from tests.fuzz.targets.answers import HEAD, answers_to
from worker_agents.clients.code_forge import MAX_STAGES, CodeForgeClient, GenerationStatus, PipelineStatus
from worker_agents.executors.pipeline import BegunPipeline


def check(content: bytes) -> None:
    """Ids that can be asked for again, statuses that can be published and remembered, or a typed error."""
    key = {"Idempotency-Key": "t-1:generate"}
    request_id, pipeline_id, generation, pipeline = answers_to(
        content,
        lambda http: CodeForgeClient(http).submit_generation_request(
            ticket_id="t-1", template_id="x", parameters={}, headers=key
        ),
        lambda http: CodeForgeClient(http).trigger_pipeline(artifact_id="a", parameters={}, headers=key),
        lambda http: CodeForgeClient(http).get_generation_status("g-1", {}),
        lambda http: CodeForgeClient(http).get_pipeline_status("p-1", {}),
    )
    for remote_id in (request_id, pipeline_id):
        assert remote_id is None or (isinstance(remote_id, str) and remote_id)
    if isinstance(generation, GenerationStatus):
        _sound_status(generation, "request_id", "g-1")
    if isinstance(pipeline, PipelineStatus):
        _sound_status(pipeline, "pipeline_id", "p-1")
        _sound_pipeline(pipeline)


def _sound_status(status: GenerationStatus | PipelineStatus, field: str, asked_for: str) -> None:
    assert getattr(status, field) == asked_for
    assert status.status == status.status.strip().lower() != ""
    assert orjson.loads(orjson.dumps({"result": {"output": status.model_dump()}}))
    if status.is_completed:
        assert status.is_over
        assert status.http_status < 300


def _sound_pipeline(status: PipelineStatus) -> None:
    assert len(status.stages) <= MAX_STAGES
    for each in (status, *status.stages):
        assert each.duration_ms is None or 0 <= each.duration_ms < math.inf
    assert all(each.name for each in status.stages)
    begun = BegunPipeline("p-1").having_seen(status, 1.5)
    assert BegunPipeline.read(orjson.loads(orjson.dumps(begun.checkpoint()))) == begun


TARGET = Target(
    "code_forge",
    check,
    tokens=(
        *HEAD,
        *(
            b'{"request_id":',
            b'{"pipeline_id":',
            b'"status":',
            b'"stage":',
            b'"stages":',
            b'"name":',
            b'"duration_ms":',
        ),
        *(b'"artifacts":', b'"sbom":', b'"signature":', b'"error":', b'"None"', b'"completed"', b'"failed"', b'"[1]"'),
    ),
)
