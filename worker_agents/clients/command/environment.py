"""The environment of a test command: built from nothing, and the same for every ticket but for what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_VALUE = 32_768

# Whoever sets these chooses code, configuration or servers of a tool, or of the dynamic linker, shell or interpreter.
_DANGEROUS = re.compile(
    # Whole families, by what stands before the first underscore ...
    r"(LD|DYLD|PYTHON|PYTEST|COV|COVERAGE|TOX|PIP|UV|VIRTUAL|CONDA|NODE|NPM|YARN|PNPM|JEST|VITEST|MOCHA|JAVA|JDK|JRE|_JAVA"
    r"|MAVEN|MVN|M2|SUREFIRE|GRADLE|KOTLIN|CGO|GCC|CARGO|RUST|RUSTC|RUSTUP|NEXTEST|BASH|GIT|SSH|PERL|PERL5|RUBY|GEM|BUNDLE"
    r"|PHP|DOTNET|XDG|SSL|OPENSSL|CURL|MALLOC|GLIBC|WORKER_AGENTS)_.*"
    # ... those that are written without one ...
    r"|(PYTHON|GO|RUST|RUBY|PERL5?|BASH)[A-Z0-9]+"
    # ... and the rest by name.
    r"|.*_PROXY|PATH|HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|SHELL|ENV|IFS|PS4|PWD|OLDPWD|ZDOTDIR|EDITOR|VISUAL|PAGER|BROWSER|CC"
    r"|CXX|CPP|AR|AS|LDFLAGS|CFLAGS|CXXFLAGS|CPPFLAGS|MAKEFLAGS|CLASSPATH|GCONV_PATH|LOCPATH|NLSPATH|HOSTALIASES"
    r"|RESOLV_HOST_CONF|KUBECONFIG|TERMINFO|TERMINFO_DIRS|COMPILER_PATH|LIBRARY_PATH|C_INCLUDE_PATH",
    re.IGNORECASE,
)


def environment_problem(variables: Mapping[str, str], allowed: Sequence[str]) -> str | None:
    """Why a ticket may not set ``variables``, or ``None``. Values are never repeated."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            return f"env_vars: {name!r} is no name of an environment variable"
        if name not in allowed:
            return f"env_vars: {name} is not in TEST_ENVIRONMENT_ALLOWED"
        if _DANGEROUS.fullmatch(name):
            return f"env_vars: {name} decides which code or configuration runs, so that no ticket may set it"
        if "\0" in value or len(value) > MAX_VALUE:
            return f"env_vars: the value of {name} contains a NUL character or is longer than {MAX_VALUE} characters"
    return None


def build_environment(
    *,
    path: str,
    scratch: Path,
    allowed: Sequence[str],
    variables: Mapping[str, str],
    own: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """A fixed PATH, HOME and TMPDIR in ``scratch``, what ``allowed`` names of our own environment, then ``variables``."""
    return {
        "LANG": "C.UTF-8",
        "CI": "true",
        **{name: own[name] for name in allowed if name in own},
        **variables,
        "PATH": path,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
    }
