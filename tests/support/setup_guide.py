"""EXTERNAL_TOOLS_SETUP.md and the example manifests, as tests take their commands and settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.fleet import ROOT

GUIDE = (ROOT / "EXTERNAL_TOOLS_SETUP.md").read_text(encoding="utf-8")
MANIFESTS = ROOT / "examples" / "kubernetes"


def blocks(language: str, section: str = "") -> list[str]:
    """The code blocks of a language: in the whole guide, or below one of its headings."""
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0] if section else GUIDE
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block(language: str, section: str, words: str) -> str:
    """The only one with these words."""
    (found,) = (each for each in blocks(language, section) if words in each)
    return found


def shell(script: str, folder: Path, environment: dict[str, str], interpreter: str = "bash") -> str:
    """Run a script that must succeed; what it prints."""
    command = [interpreter, "-euc", script]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def exports(script: str, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The variables that a script sets, exported or not."""
    lines = shell(f"set -a\n{script}\nenv", folder, environment).splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: value for name, value in found.items() if name not in {*environment, "PWD", "SHLVL", "_", "OLDPWD"}}


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text(encoding="utf-8")))


def container(name: str, kind: str) -> dict[str, Any]:
    """The only container of a manifest of a kind."""
    (manifest,) = (each for each in manifests(name) if each["kind"] == kind)
    spec = manifest["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else manifest["spec"]
    (found,) = spec["template"]["spec"]["containers"]
    return dict(found)
