from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.adaptation.drift import Cusum, DriftMonitor, DriftPolicy

POLICY = DriftPolicy()
LEARNED = POLICY.block * POLICY.reference


def alarms(detector: Cusum, values: np.ndarray) -> list[int]:
    return [frame for frame, value in enumerate(values.tolist()) if detector.update(value)]


@pytest.mark.parametrize('step', [1.5, -1.5])
def test_a_step_either_way_is_found_soon(step):
    rng, detector = np.random.default_rng(1), Cusum(POLICY)
    assert alarms(detector, rng.normal(0, 1, LEARNED + 3000)) == []
    found = alarms(detector, rng.normal(step, 1, 600))
    assert found and found[0] <= 5 * POLICY.block


def test_no_alarm_without_a_drift():
    rng = np.random.default_rng(2)
    assert sum(len(alarms(Cusum(POLICY), rng.normal(0, 1, 10_000))) for _ in range(20)) <= 1


def test_what_comes_back_is_found_again():
    rng, detector = np.random.default_rng(3), Cusum(POLICY)
    found = [alarms(detector, rng.normal(mean, 1, 2 * LEARNED)) for mean in (0, 3, 0, 3)]
    assert [len(each) for each in found] == [0, 1, 1, 1]


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_the_signal_does_not_matter(gain, offset):
    values = np.concatenate([np.random.default_rng(4).normal(0, 1, LEARNED + 600),
                             np.random.default_rng(5).normal(2, 1, 600)])
    assert alarms(Cusum(POLICY), values) == alarms(Cusum(POLICY), gain * values + offset)


@pytest.mark.parametrize('value', [0.7, 1.0, 0.0])
def test_a_constant_signal_is_no_drift(value):
    assert alarms(Cusum(POLICY), np.full(5000, value)) == []


def test_the_monitor_names_the_signal_and_keeps_views_apart():
    rng, monitor = np.random.default_rng(6), DriftMonitor(POLICY)

    def show(view: str, frames: int, confidence: float, centre: float) -> list[str]:
        return [found for _ in range(frames) if (found := monitor.update(
            view, confidence + rng.normal(0, 0.05), rng.normal(centre, 1, 10)))]

    quiet = LEARNED + 300
    assert show('left', quiet, 0.9, 0.0) == show('right', quiet, 0.9, 0.0) == []
    assert show('left', 300, 0.9, 3.0) == ['features']
    assert show('right', 300, 0.6, 0.0) == ['confidence']
    assert monitor.alarms == 2


def test_corrections_that_turn_into_mistakes_are_an_alarm():
    rng, monitor = np.random.default_rng(7), DriftMonitor(POLICY)
    assert not any(monitor.corrected(bool(rng.random() < 0.2)) for _ in range(400))
    assert any(monitor.corrected(bool(rng.random() < 0.9)) for _ in range(60))
    assert monitor.alarms == 1


def test_an_operator_who_corrects_mistakes_alone_raises_none():
    monitor = DriftMonitor(POLICY)
    assert not any(monitor.corrected(True) for _ in range(2000))
