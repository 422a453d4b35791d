from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from instantft_ros.adaptation.paired import Paired

RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200)


@given(RIGHT, RIGHT)
def test_comparisons_add_up(first, second):
    def of(pairs):
        now, new = np.array(pairs, bool).reshape(-1, 2).T
        return Paired.of(now, new)

    assert of(first) + of(second) == of(first + second)


@given(RIGHT)
def test_equal_or_better_is_never_worse(pairs):
    now, new = np.array(pairs, bool).reshape(-1, 2).T
    assert not Paired.of(now, now | new).worse(0.0)


def test_it_takes_several_losses_and_fewer_without_a_tolerance():
    assert not Paired(lost=4, won=0, count=4).worse(0.0)
    assert Paired(lost=5, won=0, count=5).worse(0.0)
    assert not Paired(lost=30, won=10, count=200).worse(0.1)
    assert Paired(lost=30, won=2, count=100).worse(0.1)
