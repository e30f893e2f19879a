"""A little fuzzing in every test run, the same one each time; ``make fuzz`` goes further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.search import BOUNDED, inputs_for
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_input_is_read_or_refused_as_promised(name: str) -> None:
    target = TARGETS[name]

    @BOUNDED
    @given(inputs_for(target) | st.binary(max_size=100))
    def read_or_refused(content: bytes) -> None:
        target.run(content)

    read_or_refused()
