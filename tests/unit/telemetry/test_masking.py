"""Known secrets do not show, whatever surrounds them."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.telemetry.masking import MASK, SecretMasker

# Letters that the mask and what surrounds a secret do not have, so that none is found where it was not put.
secret_texts = st.text(alphabet="abcXYZ'\"\\ /%äß", min_size=4).filter(lambda text: len(set(text)) > 1)


@given(secret_texts, st.text(alphabet="0123456789 \n"), st.text(alphabet="0123456789 \n"))
def test_a_secret_never_shows(secret: str, before: str, after: str) -> None:
    masked = SecretMasker([secret]).text(f"{before}{secret}{after}")
    assert secret not in masked
    assert MASK in masked


@given(secret_texts)
def test_a_quoted_secret_never_shows(secret: str) -> None:
    masker = SecretMasker([secret])
    assert masker.text(quote(secret, safe="")) == MASK
    assert masker.text(repr(secret)[1:-1]) == MASK


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert SecretMasker(["token", "token-of-vault"]).text("token-of-vault token") == f"{MASK} {MASK}"


def test_a_secret_that_is_an_ordinary_syllable_is_left_alone() -> None:
    assert SecretMasker(["", "on"]).text("connection on") == "connection on"


@pytest.mark.parametrize("value", [None, True, 3, 2.5])
def test_values_that_are_no_text_stay(value: object) -> None:
    assert SecretMasker(["secret"]).value(value) is value


def test_text_inside_of_anything_is_masked() -> None:
    masker = SecretMasker(["secret"])
    assert masker.value({"a": ["secret", ("secret",)], "secret": {"secret"}}) == {"a": [MASK, [MASK]], MASK: [MASK]}
    assert masker.value(ValueError("secret")) == MASK
    assert masker.value(b"secret") == f"b'{MASK}'"
