"""Templates, and how values are written for people. Pure but for reading the templates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from worker_agents.model.words import count, span
from worker_agents.web.views import HistoryView, StatusDocument, TicketDetail

# What is pushed when it changed. Each is templates/sections/<name>.html, in an element with that id.
OVERVIEW_SECTIONS = (
    *("summary", "running", "waiting", "results", "failures"),
    *("throughput", "integrations", "slots", "partitions"),
)
TICKET_SECTIONS = ("ticket",)

_WIDTH, _HEIGHT = 600, 60


def templates() -> Environment:
    """The environment of all templates: everything is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("worker_agents.web.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"span": span, "moment": moment, "seconds": seconds, "count": count, "words": words}
    environment.globals |= {
        "sparkline": sparkline,
        "bars": bars,
        "most_results": most_results,
        "longest_median": longest_median,
    }
    return environment


def sections_of(environment: Environment, names: Sequence[str], view: StatusDocument | TicketDetail) -> dict[str, str]:
    """The HTML of each section."""
    return {name: environment.get_template(f"sections/{name}.html").render(view=view) for name in names}


def moment(at: int | None) -> Markup:
    """Epoch milliseconds as a ``time`` element in UTC; a dash for none."""
    if at is None:
        return Markup("&ndash;")
    when = datetime.fromtimestamp(at / 1000, UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M:%S"), when.strftime("%H:%M:%S")
    )


def seconds(value: float | None) -> str:
    """A measured duration: ``3 ms``, ``1.2 s``, ``4 min``; a dash for none."""
    if value is None:
        return "\u2013"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else span(value)


def words(value: object) -> str:
    """A detail of an event: figures rounded, yes and no for truth values, JSON for objects."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return seconds(value)
        case dict() | list():
            return orjson.dumps(value, default=str).decode()
    return str(value)


def most_results(history: HistoryView) -> int:
    """In one of the minutes."""
    return max((bucket.completed + bucket.failed for bucket in history.buckets), default=0)


def longest_median(history: HistoryView) -> float | None:
    """Of all minutes, in seconds; ``None`` without results."""
    known = [bucket.duration_median for bucket in history.buckets if bucket.duration_median is not None]
    return max(known, default=None)


def bars(history: HistoryView) -> Markup:
    """Results a minute as an SVG: completed below, failed on top of them."""
    most = most_results(history) or 1
    step = _WIDTH / max(len(history.buckets), 1)
    shapes = []
    for place, bucket in enumerate(history.buckets):
        good, bad = bucket.completed / most * _HEIGHT, bucket.failed / most * _HEIGHT
        left, width = place * step, step * 0.8
        shapes.append(_bar("good", left, width, _HEIGHT - good, good))
        shapes.append(_bar("bad", left, width, _HEIGHT - good - bad, bad))
    return _svg(shapes, "Results a minute")


def sparkline(history: HistoryView) -> Markup:
    """The median duration of each minute as an SVG; minutes without results leave a gap."""
    longest = longest_median(history) or 1.0
    step = _WIDTH / max(len(history.buckets), 1)
    shapes = [
        f'<circle class="line" cx="{(place + 0.5) * step:.1f}" cy="{_dot(bucket.duration_median / longest):.1f}" r="3"/>'
        for place, bucket in enumerate(history.buckets)
        if bucket.duration_median is not None
    ]
    return _svg(shapes, "Median duration of each minute")


def _dot(share: float) -> float:
    return _HEIGHT - 3 - share * (_HEIGHT - 6)


def _bar(kind: str, left: float, width: float, top: float, height: float) -> str:
    if height <= 0:
        return ""
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _svg(shapes: Iterable[str], label: str) -> Markup:
    """Escaping each number, as ``Markup.format`` does, would take longer than all the rest of the page."""
    content = Markup("".join(shapes))  # noqa: S704 # numbers, and nothing else
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(label, _WIDTH, _HEIGHT, content)
