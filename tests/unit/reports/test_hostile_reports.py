"""Reports that were made to do harm, and reports that are merely broken: refused, and nothing but refused."""

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.reports.sampling import SAMPLES, sample
from worker_agents.reports import json_documents, xml_events
from worker_agents.reports.coverage import go_profile, jacoco, lcov
from worker_agents.reports.detect import console_coverage, parse_console, parse_coverage, parse_test_report
from worker_agents.reports.model import MAX_FAILURES, MAX_TEXT_LENGTH, ReportUnreadable
from worker_agents.reports.numbers import MAX_COUNT

ENTITY_BOMB = b"""<?xml version="1.0"?><!DOCTYPE testsuite [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><testsuite name="&c;"/>"""
DEFAULTS_BOMB = (
    b'<!DOCTYPE testsuite [<!ATTLIST a b CDATA "x" c CDATA "x">]><testsuite>' + b"<a/>" * 100 + b"</testsuite>"
)
EXTERNAL_ENTITY = b'<!DOCTYPE testsuite [<!ENTITY a SYSTEM "file:///etc/hostname">]><testsuite name="&a;"/>'
PARAMETER_ENTITY = b'<!DOCTYPE testsuite [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]><testsuite/>'


def problem(content: bytes, parse: Callable[..., object] = parse_test_report) -> str:
    with pytest.raises(ReportUnreadable) as caught:
        parse(content, name="r")
    return caught.value.problem


@pytest.mark.parametrize("content", [ENTITY_BOMB, DEFAULTS_BOMB, EXTERNAL_ENTITY, PARAMETER_ENTITY])
@pytest.mark.parametrize("parse", [parse_test_report, parse_coverage])
def test_a_doctype_with_declarations_of_its_own_is_refused(content: bytes, parse: Callable[..., object]) -> None:
    assert problem(content, parse) == "the DOCTYPE declares entities, attributes or elements of its own"


def test_an_external_doctype_is_neither_refused_nor_fetched() -> None:
    """Fetching would fail: nobody listens there."""
    doctype = b'<!DOCTYPE testsuite PUBLIC "x" "http://127.0.0.1:9/x.dtd">'

    assert parse_test_report(doctype + b"<testsuite><testcase/></testsuite>", name="r").counts.passed == 1


@pytest.mark.parametrize(
    ("limit", "content"),
    [
        ("MAX_DEPTH", b"<testsuite>" + b"<a>" * 20 + b"</a>" * 20 + b"</testsuite>"),
        ("MAX_ELEMENTS", b"<testsuite>" + b"<a/>" * 20 + b"</testsuite>"),
        ("MAX_ATTRIBUTES_OF_ONE", b"<testsuite " + b" ".join(b"a%d=''" % n for n in range(20)) + b"/>"),
        ("MAX_TAG_BYTES", b"<testsuite name='" + b"x" * 200_000 + b"'/>"),
    ],
)
def test_xml_over_a_limit_is_refused(limit: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_test_report(content, name="r")
    monkeypatch.setattr(xml_events, limit, 10)
    assert problem(content)


def test_the_limits_are_those_that_keep_the_worst_file_within_seconds_and_megabytes() -> None:
    assert problem(b"<testsuite>" + b"<a>" * 2_000_000) == "XML elements nest deeper than 100 levels"
    assert problem(b"<testsuite>" + b"<a/>" * 2_000_000) == "more than 1,000,000 XML elements"
    assert problem(b"<testsuite name='" + b"x" * 2_000_000) == "a single XML tag of more than 1,048,576 bytes"
    assert problem(b"[" * 3_000_000) == "more than 2,000,000 JSON objects and lists"
    assert problem(b'{"a":' * 100_000).startswith("no valid JSON")


@pytest.mark.parametrize("encoding", ["utf-7", "punycode", "idna", "cp037", "no-such", "rot13", "utf-32"])
def test_xml_in_other_encodings_is_refused(encoding: str) -> None:
    assert "encoding" in problem(f'<?xml version="1.0" encoding="{encoding}"?><testsuite/>'.encode())


@pytest.mark.parametrize(
    ("module", "limit", "content", "parse"),
    [
        (json_documents, "MAX_LINES", sample("go-events.json"), parse_test_report),
        (json_documents, "MAX_OTHER_LINES", sample("go-events.json") + b"{\n" * 20, parse_test_report),
        (json_documents, "MAX_CONTAINERS", sample("jest-report.json"), parse_test_report),
        (lcov, "MAX_LINES", sample("istanbul.lcov"), parse_coverage),
        (go_profile, "MAX_BLOCKS", sample("go-cover.out"), parse_coverage),
        (jacoco, "MAX_CLASSES", sample("jacoco.csv"), parse_coverage),
    ],
)
def test_files_with_too_many_parts_are_refused(
    module: object, limit: str, content: bytes, parse: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse(content, name="r") is not None
    monkeypatch.setattr(module, limit, 0)
    assert problem(content, parse)


@pytest.mark.parametrize(
    "number",
    [
        "-1",
        "1.5",
        "1e3",
        "true",
        "null",
        '"many"',
        "[]",
        "{}",
        str(MAX_COUNT + 1),
        "9" * 30,
        "9" * 5_000,
        "NaN",
        "1e999",
        '"\u0661"',
    ],
)
@pytest.mark.parametrize(
    "document",
    [
        '{{"exitcode": 0, "summary": {{"passed": {}, "total": 1}}}}',
        '{{"numTotalTests": 1, "numFailedTests": 0, "numPassedTests": {}}}',
        '{{"stats": {{"passes": {}, "failures": 0}}}}',
        '{{"tests_passed": {}}}',
        '{{"type": "suite", "event": "ok", "passed": {}}}',
    ],
)
def test_numbers_that_are_no_counts_are_refused(document: str, number: str) -> None:
    assert problem(document.format(number).encode())


@pytest.mark.parametrize("number", ["-1", "1.5", "", "x", "1_0", "1,23", "0x10", "9" * 30, "\u0661"])
def test_attributes_that_are_no_counts_are_refused(number: str) -> None:
    assert problem(f'<testsuite tests="{number}"/>'.encode())


def test_counts_that_are_absurd_only_together_are_refused() -> None:
    suite = f'<testsuite tests="{MAX_COUNT}"/>'.encode()

    assert problem(b"<testsuites>" + suite * 2 + b"</testsuites>") == "more tests than there can be"


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"<", b"<a/>", b"<testsuite>", b"{", b"[]", b"{}", b"null", b"\0" * 100]
)
def test_what_is_no_report_is_refused(content: bytes) -> None:
    assert problem(content)


def only_refuses(content: bytes) -> None:
    """Each parser answers within its promises or refuses; any other exception fails the test."""
    try:
        report = parse_test_report(content, name="r")
    except ReportUnreadable as unreadable:
        str(unreadable).encode()
    else:
        assert min(report.counts.passed, report.counts.failed, report.counts.skipped, report.counts.errors) >= 0
        assert report.counts.total <= MAX_COUNT
        assert len(report.failures) <= MAX_FAILURES
        for one in report.failures:
            assert len(one.name) <= MAX_TEXT_LENGTH >= len(one.message)
            (one.name + one.message).encode()
    try:
        assert 0 <= parse_coverage(content, name="r") <= 100
    except ReportUnreadable as unreadable:
        str(unreadable).encode()
    text = content.decode(errors="surrogateescape")
    parse_console(text)
    percent = console_coverage(text)
    assert percent is None or 0 <= percent <= 100


TOKENS = [
    *(
        b'{"numTotalTests":',
        b'"numFailedTests":',
        b'{"stats":{"passes":',
        b'"failures":',
        b'{"summary":',
        b'"exitcode":',
    ),
    *(b'{"Action":"fail","Package":"p","Test":"', b'{"Action":"pass","Package":"p"}', b'{"type":"suite","event":"ok"'),
    *(b'{"totals":{"percent_covered":', b'{"total":{"lines":{"pct":', b"<testsuites>", b"<testsuite ", b"tests='"),
    *(b"<testcase>", b"</testcase>", b"<failure>", b"<error/>", b"</testsuite>", b"<coverage line-rate='", b"<report>"),
    *(
        b"<counter type='LINE' missed='1' covered='",
        b"</report>",
        b"<!DOCTYPE a [",
        b"<![CDATA[",
        b"]]>",
        b"&#0;",
        b"SF:",
    ),
    *(
        b"DA:1,1",
        b"LF:",
        b"LH:",
        b"end_of_record",
        b"mode: set\n",
        b"a.go:1.1,1.2 ",
        b"GROUP,PACKAGE,CLASS,LINE_MISSED,",
    ),
    *(
        b"LINE_COVERED\n",
        b'"',
        b"'",
        b"}",
        b"]",
        b"[",
        b":",
        b",",
        b">",
        b"/>",
        b"\n",
        b" ",
        b"0",
        b"1",
        b"-1",
        b"1e999",
    ),
    *(b"9" * 400, b"NaN", b"null", b"\\ud800", b"\xff", b"\0", b"\x1b[31m", b" passed", b" failed", b" in 0.01s\n"),
    *(
        b"Tests run: 1, Failures: ",
        b", Errors: 0, Skipped: 0\n",
        b"--- FAIL: T/a (0.00s)\n",
        b"ok  \tp\t0.1s\n",
        b"FAIL\tp\n",
    ),
    *(b"running 1 test\n", b"test result: ok. 1 passed; 0 failed; 0 ignored; ", b"  1 passing (1ms)\n", b"Tests: "),
    *(
        b"TOTAL 1 1 ",
        b"%",
        b"coverage: 50.0% of statements\n",
        b"total:\t(statements)\t50.0%\n",
        b" Tests  1 failed (1)\n",
    ),
]
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(st.binary(max_size=400))
@FUZZ
def test_any_bytes_are_at_most_refused(content: bytes) -> None:
    only_refuses(content)


@given(st.lists(st.sampled_from(TOKENS), max_size=40))
@FUZZ
def test_any_row_of_what_formats_are_made_of_is_at_most_refused(tokens: list[bytes]) -> None:
    only_refuses(b"".join(tokens))


@given(
    st.sampled_from(sorted(SAMPLES.iterdir())), st.integers(), st.sampled_from(["cut", "replace", "double", "numbers"])
)
@FUZZ
def test_any_damaged_report_is_at_most_refused(path: object, seed: int, damage: str) -> None:
    content = bytearray(sample(str(path)))
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(len(content) + 1)
        end = min(start + rng.randint(0, 60), len(content))
        match damage:
            case "cut":
                del content[start:end]
            case "replace":
                content[start:end] = rng.choice(TOKENS)
            case "double":
                content[start:start] = content[start:end]
            case "numbers":
                digits = [at for at, byte in enumerate(content) if byte in b"0123456789"]
                at = rng.choice(digits or [0])
                content[at : at + 1] = rng.choice([b"-1", b"9" * 25, b"1.5", b"null", b'"x"', b"1e999", b"true"])
    only_refuses(bytes(content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEYS = [
    "summary",
    "exitcode",
    "tests",
    "collectors",
    "numTotalTests",
    "numFailedTests",
    "testResults",
    "stats",
    "passes",
]
KEYS += [
    "failures",
    "passed",
    "tests_failed",
    "totals",
    "percent_covered",
    "total",
    "lines",
    "pct",
    "Action",
    "Package",
]
KEYS += ["Test", "Output", "type", "event", "name", "coverage", "success", "outcome", "status", "assertionResults"]


@given(st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=12))
@FUZZ
def test_known_keys_with_any_values_are_at_most_refused(document: object) -> None:
    only_refuses(json.dumps(document).encode())
