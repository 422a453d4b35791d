"""Any correction that DDS can carry is read, or answered with a reason; nothing is raised."""

from builtin_interfaces.msg import Duration, Time
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np

from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import Answer, apply_correction
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.msg import Correction
from instantft_ros.nodes import conversions

LAYOUT = FeatureLayout((4,), 3)
INT32, SMALL = st.integers(-2**31, 2**31 - 1), st.integers(-3, 6)
TIMES = st.builds(lambda sec, nanosec: Time(sec=sec, nanosec=nanosec), INT32 | SMALL,
                  st.integers(0, 2**32 - 1))
TEXTS = st.sampled_from(['', 'left', 'right', 'bin', 'cup', 'plate']) | st.text(max_size=80)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.integers(0, 255) | st.integers(0, 4),
                          st.integers(0, 255) | st.integers(0, 2), TIMES, TIMES, TIMES, INT32,
                          INT32 | SMALL), max_size=20))
@settings(deadline=None, max_examples=200)
def test_any_correction_is_answered(said):
    ring, cache = FrameRing(['left', 'right/bin', 'right/box'], 5), ForwardCache(LAYOUT, 4, 0.3)
    classes = ClassList(('cup', 'plate', 'fork'), 3, most=5)

    def add_class(name: str) -> int:
        label = classes.add(name)
        cache.grow(len(classes))
        return label

    features = Features(np.ones(4, np.float32), np.zeros(3, np.float32))
    for number in range(6):
        for view in ring.views:
            ring.put(FrameId(view, number * 10**9), FeatureRecord.of(features, LAYOUT))
    for camera, region, name, selector, operation, header, stamp, end, sec, class_id in said:
        message = Correction(camera=camera, region=region, class_name=name, selector=selector,
                             operation=operation, stamp=stamp, stamp_end=end,
                             tolerance=Duration(sec=sec), class_id=class_id)
        message.header.stamp = header
        read = conversions.correction(message, ring.views, now_ns=1)
        answer = read if isinstance(read, Answer) else apply_correction(
            read, ring, cache, classes, add_class)
        assert answer.reason
        ack = conversions.acknowledgement(message, answer, cache.version, 1)
        assert ack.accepted == answer.satisfied
    assert len(cache) <= 4 and len(classes) <= 5
