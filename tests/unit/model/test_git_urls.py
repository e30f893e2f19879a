"""What counts as below an allowed prefix, and what is no address at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.model.git_urls import AllowedGitUrls, read_git_url

TEAM = AllowedGitUrls(["https://git.example/team"])


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("https://git.example/team/app", "https://git.example/team/app"),
        ("https://git.example/team/app.git", "https://git.example/team/app.git"),
        ("https://git.example/team", "https://git.example/team"),
        ("HTTPS://GIT.example:443/team/app/", "https://git.example/team/app"),
        ("https://git.example/team/group/sub/app.git", "https://git.example/team/group/sub/app.git"),
        ("https://git.example/%74eam/app", "https://git.example/%74eam/app"),
    ],
)
def test_a_repository_below_the_prefix_is_allowed_and_given_to_git_in_normal_form(given_url: str, normal: str) -> None:
    assert TEAM.check(given_url).text == normal


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/team-evil",
        "https://git.example/team-evil/app",
        "https://git.example/teams/app",
        "https://git.example/TEAM/app",
        "https://git.example/",
        "https://git.example/other/app",
        "https://git.example.evil/team/app",
        "https://evil.git.example/team/app",
        "https://git.example:8443/team/app",
        "http://git.example/team/app",
        "ssh://git.example/team/app",
        "ssh://git@git.example/team/app",
    ],
)
def test_what_only_looks_like_the_prefix_is_not_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="not below any of ALLOWED_GIT_URLS"):
        TEAM.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example@evil/team/app",
        "https://git.example:pw@evil/team/app",
        "https://@git.example/team/app",
        "https://git.example/team/../other",
        "https://git.example/team/./app",
        "https://git.example/team/%2e%2e/other",
        "https://git.example/team/%2E%2E/other",
        "https://git.example/team/..%2fother",
        "https://git.example/team/%252e%252e/other",
        "https://git.example/team//app",
        "https://git.example//team/app",
        "https://git.example/team\\..\\other",
        "https://git.example\\@evil/team/app",
        "https://git.example/team/app?x=1",
        "https://git.example/team/app#x",
        "https://git.example/team/app?",
        "https://git.example/team/a pp",
        "https://git.example/team/app\n",
        "https://git.example/team/\tapp",
        "https://git.exa\u0130mple/team/app",
        "https:///team/app",
        "https:/git.example/team/app",
        "https://-oProxyCommand=x/team/app",
        "ssh://-oProxyCommand=x/team/app",
        "ssh://-l@git.example/team/app",
        "ssh://git:pw@git.example/team/app",
        "https://git.example:99999/team/app",
        "https://[::1/team/app",
        "https://git.example:/team/app",
        "file://git.example/team/app",
        "ext::sh -c touch% /tmp/x",
        "ext::https://git.example/team/app",
        "git://git.example/team/app",
        "git@git.example:team/app",
        "--upload-pack=touch",
        "/srv/git/app",
        "../app",
        "",
        "https://git.example/team/" + "a" * 3000,
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must |is not an address"):
        TEAM.check(url)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="user name or password") as refused:
        TEAM.check("https://joe:hunter2@git.example/team/app")
    assert "hunter2" not in str(refused.value)


def test_without_prefixes_nothing_is_allowed() -> None:
    nothing = AllowedGitUrls([])
    assert not nothing
    with pytest.raises(ValueError, match="not below"):
        nothing.check("https://git.example/team/app")


def test_a_prefix_may_name_one_repository_with_or_without_its_suffix() -> None:
    one = AllowedGitUrls(["https://git.example/team/app.git"])
    assert one.check("https://git.example/team/app").path == ("team", "app")
    with pytest.raises(ValueError, match="not below"):
        one.check("https://git.example/team/app2")


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("https://git.example", "https://git.example/any/app"),
        ("ssh://git@git.example:2222/team/", "ssh://git@git.example:2222/team/app"),
        ("ssh://git@git.example:22/team", "ssh://git@git.example/team/app"),
        ("http://10.0.0.7:3000/team", "http://10.0.0.7:3000/team/app"),
        ("https://[2001:db8::1]/team", "https://[2001:DB8::1]/team/app"),
        ("file:///srv/git", "file:///srv/git/app.git"),
    ],
)
def test_each_kind_of_prefix_allows_what_lies_below_it(prefix: str, url: str) -> None:
    assert AllowedGitUrls([prefix]).check(url)


@pytest.mark.parametrize("prefix", ["git.example/team", "https://git.example/a/../b", "https://*.example/", "ext::sh"])
def test_a_prefix_that_is_no_address_is_refused_at_start(prefix: str) -> None:
    with pytest.raises(ValueError, match="entry 2 must "):
        AllowedGitUrls(["https://git.example", prefix])


@given(st.text(max_size=60).map(lambda tail: "https://git.example" + tail))
def test_whatever_is_allowed_stays_on_its_host_and_below_its_prefix(url: str) -> None:
    try:
        allowed = TEAM.check(url)
    except ValueError:
        return
    assert allowed.text.startswith("https://git.example/")
    assert allowed.path[0] in {"team", "team.git"}
    assert read_git_url(allowed.text) == allowed
