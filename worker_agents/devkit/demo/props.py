"""The files that the demo's tickets are about: sources to test and to scan, and a policy."""

from __future__ import annotations

import secrets
import string
from pathlib import Path

SHOP, BROKEN, LEAKY = "shop", "shop-broken", "shop-leaky"
"""Directories below the workspace: all is well, a test fails, a key lies in the source."""

POLICY_PATH = "release"

POLICY = Path(__file__).with_name("release.rego")

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
