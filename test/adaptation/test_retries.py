from hypothesis import given
from hypothesis import strategies as st

from instantft_ros.adaptation.retries import LONGEST_PAUSE_S, Retries, RetryPolicy


def test_pauses_double_and_attempts_end():
    policy, retries, now_s = RetryPolicy(pause_s=2.0, most=4), Retries(), 100.0
    pauses = []
    while not retries.exhausted(policy):
        assert retries.allowed(policy, now_s)
        retries.failed(policy, now_s)
        pause_s = next(step / 10 for step in range(1000)
                        if retries.allowed(RetryPolicy(2.0, 99), now_s + step / 10))
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert not retries.allowed(policy, 1e9)


def test_a_new_correction_brings_one_more_attempt_after_the_pause():
    policy, retries = RetryPolicy(pause_s=2.0, most=3), Retries()
    for _ in range(3):
        retries.failed(policy, 0.0)
    retries.corrected(policy)
    assert not retries.allowed(policy, 7.9)
    assert retries.allowed(policy, 8.0)
    retries.failed(policy, 8.0)
    assert retries.exhausted(policy)


def test_success_begins_anew():
    policy, retries = RetryPolicy(), Retries()
    for _ in range(5):
        retries.failed(policy, 0.0)
    retries.succeeded()
    assert retries.allowed(policy, 0.0)


@given(st.floats(0.0, 3600.0), st.integers(1, 2000))
def test_no_pause_grows_beyond_the_longest(pause_s, failures):
    policy, retries = RetryPolicy(pause_s, 10_000), Retries()
    for _ in range(failures):
        retries.failed(policy, 0.0)
    assert retries.allowed(policy, max(LONGEST_PAUSE_S, pause_s))
