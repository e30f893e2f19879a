"""The files that the demo's tickets are about: sources to test and to scan, and a policy."""

from __future__ import annotations

import secrets
import string
from pathlib import Path

SHOP, BROKEN, LEAKY = "shop", "shop-broken", "shop-leaky"
"""Directories below the workspace: all is well, a test fails, a key lies in the source."""

POLICY_PATH = "release"

# `import rego.v1` makes it the same policy for OPA 0.59 and later and for 1.x.
POLICY = """\
package release

import rego.v1

default allow := false

allow if count(violations) == 0

violations contains {
\t"rule_id": "approved",
\t"severity": "HIGH",
\t"resource": object.get(input, "service", "unnamed"),
\t"message": "nobody has approved this release",
} if {
\tobject.get(input, "approved_by", "") == ""
}

violations contains {
\t"rule_id": "image-tag",
\t"severity": "MEDIUM",
\t"resource": object.get(input, "service", "unnamed"),
\t"message": "the image must have a tag of its own, not latest",
} if {
\tnot regex.match(`:[^:/]+$`, object.get(input, "image", ""))
}

violations contains {
\t"rule_id": "image-tag",
\t"severity": "MEDIUM",
\t"resource": object.get(input, "service", "unnamed"),
\t"message": "the image must have a tag of its own, not latest",
} if {
\tendswith(object.get(input, "image", ""), ":latest")
}
"""

_PRICES = """\
def total(prices):
    return sum(prices)


def discounted(price, percent):
    return price * (100 {sign} percent) / 100
"""
_TESTS = """\
from prices import discounted, total


def test_total():
    assert total([1, 2, 3]) == 6


def test_discount_lowers_the_price():
    assert discounted(200, 10) == 180
"""
_OWN_CONFIG = "[pytest]\n"
"""Without it pytest looks for its configuration, and so for its root, in the directories above."""


def write_workspace(root: Path) -> str:
    """Make the directories below ``root``, and return the key that lies in :data:`LEAKY`.

    The key is made up here, so that no scanner of secrets finds one in this project.
    """
    key = "ghp_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(36))
    for name in (SHOP, BROKEN, LEAKY):
        directory = root / name
        directory.mkdir(parents=True)
        (directory / "pytest.ini").write_text(_OWN_CONFIG)
        (directory / "prices.py").write_text(_PRICES.format(sign="+" if name == BROKEN else "-"))
        (directory / "test_prices.py").write_text(_TESTS)
    (root / LEAKY / "settings.py").write_text(f'TOKEN = "{key}"\n')
    return key


def write_policy(folder: Path) -> Path:
    """Write the policy for OPA; returns its path."""
    path = folder / "release.rego"
    path.write_text(POLICY)
    return path
