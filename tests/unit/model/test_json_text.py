"""What is read can be written again, with something around it."""

import orjson
import pytest

from worker_agents.model.json_text import MAX_DEPTH, read_json


def nested(levels: int) -> bytes:
    return (
        b'{"a":' * (levels - levels // 2) + b"[" * (levels // 2) + b"]" * (levels // 2) + b"}" * (levels - levels // 2)
    )


@pytest.mark.parametrize(
    "text", [nested(MAX_DEPTH), nested(MAX_DEPTH).decode(), b"[" + b"[]," * 5_000 + b"[]]", b'"[[[["', b"7"]
)
def test_documents_of_any_size_are_read(text: bytes | str) -> None:
    document = read_json(text)

    assert document == orjson.loads(text)
    assert orjson.dumps({"result": {"output": [document]}})


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 254, 400, 1_000])
def test_what_nests_too_deep_is_refused_as_no_json(levels: int) -> None:
    with pytest.raises(orjson.JSONDecodeError, match="nested deeper than 200 levels"):
        read_json(nested(levels))
    with pytest.raises(orjson.JSONDecodeError, match="nested deeper than 200 levels"):
        read_json(nested(levels).decode())


def test_what_is_no_json_stays_none() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        read_json(b"[" * 5_000)
