"""New inputs out of known ones. All chance comes from ``rng``: hypothesis can replay and shrink it, atheris seeds it."""

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 64 * 1024

_NUMBERS = b"-1 0 1 2 1.5 -0.0 1e999 -1e999 1e308 NaN Infinity 9007199254740993 18446744073709551616 9999999999999999999999 true null".split()
_VALUES = (
    *_NUMBERS,
    *(b'"%s"' % number for number in _NUMBERS),
    b'""',
    b'" "',
    b"[]",
    b"{}",
    b"[[]]",
    b'{"":{}}',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\u202e\\u001b[31m"',
    '"\u0661\u00df\U0001f3ab\u00a0"'.encode(),
)
_BYTES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"\r",
    b"\n\n",
    b"\\",
    b'"',
    "\u2028\u202e".encode(),
)
_NESTS = ((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"(", b")"))
_JSON_VALUE = re.compile(rb'(?<=:)\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[[^\[\]]*\]|\{[^{}]*\})')
_JSON_ENTRY = re.compile(
    rb'"(?:[^"\\]|\\.)*"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[[^\[\]]*\]|\{[^{}]*\})'
)
_DIGITS = re.compile(rb"\d+")

Change = Callable[[Random, bytes, "Sequence[bytes]", "Sequence[bytes]"], bytes]


def mutated(rng: Random, base: bytes, others: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """``base`` after some changes; ``others`` are what it may be spliced with, ``tokens`` what may be put into it."""
    content = base
    for _ in range(rng.randint(1, 5)):
        content = rng.choice(_CHANGES)(rng, content, others, tokens)[:MAX_BYTES]
    return content


def _span(rng: Random, content: bytes, longest: int = 60) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(start + rng.randint(0, longest), len(content))


def _truncate(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    return content[: rng.randint(0, len(content))]


def _cut(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def _flip(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _splice(rng: Random, content: bytes, others: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return content[: rng.randint(0, len(content))] + other[rng.randint(0, len(other)) :]


def _token(rng: Random, content: bytes, _: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    start, end = _span(rng, content, 8)
    return content[:start] + rng.choice((*tokens, *_BYTES)) + content[rng.choice((start, end)) :]


def _repeat(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(rng, content)
    return content[:end] + content[start:end] * rng.choice((1, 2, 300, 5_000)) + content[end:]


def _nest(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    opening, closing = rng.choice(_NESTS)
    depth = rng.choice((1, 120, 300, 1_000, 3_000))
    found = _chosen(rng, _JSON_VALUE, content)
    start, end = found.span(1) if found else _span(rng, content)
    return content[:start] + opening * depth + (content[start:end] or b"1") + closing * depth + content[end:]


def _other_value(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    found = _chosen(rng, _JSON_VALUE, content)
    return _token(rng, content, (), _VALUES) if found is None else _put(content, found, 1, rng.choice(_VALUES))


def _moved_value(rng: Random, content: bytes, others: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    """A value where another one belongs: of the right kind of JSON, and of the wrong type."""
    here, there = _chosen(rng, _JSON_VALUE, content), _chosen(rng, _JSON_VALUE, rng.choice(others))
    return content if here is None or there is None else _put(content, here, 1, there[1])


def _second_key(rng: Random, content: bytes, others: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    """An entry beside another: a key twice, or one that belongs elsewhere."""
    here, there = _chosen(rng, _JSON_ENTRY, content), _chosen(rng, _JSON_ENTRY, rng.choice((content, *others)))
    return (
        content
        if here is None or there is None
        else content[: here.start()] + there[0] + b"," + content[here.start() :]
    )


def _other_number(rng: Random, content: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    found = _chosen(rng, _DIGITS, content)
    number = rng.choice((*_NUMBERS, b"9" * 30, b"9" * 5_000))
    return content + number if found is None else _put(content, found, 0, number)


def _chosen(rng: Random, pattern: re.Pattern[bytes], content: bytes) -> re.Match[bytes] | None:
    # Bounded: what was repeated or nested before is looked at in part only.
    found = list(pattern.finditer(content[:8_192]))
    return rng.choice(found) if found else None


def _put(content: bytes, found: re.Match[bytes], group: int, value: bytes) -> bytes:
    return content[: found.start(group)] + value + content[found.end(group) :]


_CHANGES: tuple[Change, ...] = (
    _truncate,
    _cut,
    _flip,
    _splice,
    _token,
    _token,
    _repeat,
    _nest,
    _other_value,
    _other_value,
    _moved_value,
    _second_key,
    _other_number,
)
