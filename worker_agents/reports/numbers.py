"""Numbers out of reports: finite, not negative, not absurd, or ``Malformed``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker_agents.reports.model import Malformed, clean_text

MAX_COUNT = 10_000_000
MAX_LINES_OF_CODE = 10_000_000_000

# Some locales of some tools group thousands: "1,234".
_WHOLE = re.compile(r"\d{1,10}|\d{1,3}(?:,\d{3}){1,2}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,10}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
# What rounding may add to 100 %.
_TOLERANCE = 1e-6


def whole_number(value: object, field: str, *, highest: int = MAX_COUNT) -> int:
    """A count, as a JSON integer or an XML attribute's digits."""
    number: int | None = None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        number = int(value.strip().replace(",", ""))
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None:
        raise Malformed(f"{field} is {_shown(value)}, expected a whole number")
    if not 0 <= number <= highest:
        raise Malformed(f"{field} is out of range: a number from 0 to {highest} was expected")
    return number


def count_in(mapping: Mapping[str, object], key: str, *, prefix: str = "") -> int:
    """The count under ``key``; 0 where it is absent, as several tools leave out what is 0."""
    return whole_number(mapping[key], prefix + key) if key in mapping else 0


def percentage(value: object, field: str) -> float:
    """A number from 0 to 100."""
    return _within(value, field, 100.0)


def rate(value: object, field: str) -> float:
    """A number from 0 to 1, as percent."""
    return 100.0 * _within(value, field, 1.0)


def share(covered: int, total: int, of: str) -> float:
    """``covered`` of ``total``, as percent."""
    if total == 0:
        raise Malformed(f"there are no {of} to cover")
    if covered > total:
        raise Malformed(f"more {of} are covered than there are")
    return 100.0 * covered / total


def _within(value: object, field: str, highest: float) -> float:
    number: float | None = None
    if (isinstance(value, str) and _DECIMAL.fullmatch(value.strip())) or (
        isinstance(value, int | float) and not isinstance(value, bool)
    ):
        number = float(value)
    if number is None:
        raise Malformed(f"{field} is {_shown(value)}, expected a number from 0 to {highest:g}")
    if not 0 <= number <= highest * (1 + _TOLERANCE):
        raise Malformed(f"{field} is {number:g}, expected a number from 0 to {highest:g}")
    return min(number, highest)


def _shown(value: object) -> str:
    match value:
        case None:
            return "missing"
        case str():
            return repr(clean_text(value)[:40])
        case bool() | float():
            return str(value)
        case int():
            return "absurd"
        case _:
            return f"a {type(value).__name__}"
