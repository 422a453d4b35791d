"""Rate and age cover the last second and nothing before it."""

import math

from instantft_ros.nodes.frame_ages import FrameAges


def test_the_last_second_counts():
    ages = FrameAges()
    for step in range(20):
        ages.add(float(step), 0.25 * step)
    summary = ages.summary(4.75)
    assert (summary.rate_hz, summary.p50_ms, summary.max_ms) == (4.0, 17.5, 19.0)
    assert ages.summary(10.0).rate_hz == 0.0
    assert math.isnan(ages.summary(10.0).max_ms)
