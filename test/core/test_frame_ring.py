import numpy as np

from instantft_ros.core.features import FeatureRecord
from instantft_ros.core.frame_ring import FrameId, FrameRing


def record(value: int) -> FeatureRecord:
    return FeatureRecord(np.full(1, value, np.uint8), np.zeros(1, np.float32),
                         np.zeros(1, np.float32), 0.0)


def filled(stamps: list[int], capacity: int = 3) -> FrameRing:
    ring = FrameRing(['left', 'right'], capacity)
    for stamp in stamps:
        ring.put(FrameId('left', stamp), record(stamp % 256))
    return ring


def test_oldest_frames_leave_first():
    ring = filled([1, 2, 3, 4])
    assert ring.get(FrameId('left', 1)) is None
    assert ring.get(FrameId('left', 4)) is not None
    assert len(ring) == 3
    assert ring.oldest_stamp_ns('left') == 2


def test_cameras_do_not_push_each_other_out():
    ring = filled([1, 2, 3])
    ring.put(FrameId('right', 9), record(9))
    assert len(ring) == 4
    assert ring.get(FrameId('right', 1)) is None


def test_latest_and_window():
    ring = filled([10, 20, 30])
    assert ring.latest('left') == FrameId('left', 30)
    assert ring.latest('right') is None
    assert [f.stamp_ns for f in ring.window('left', 15, 30)] == [20, 30]
    assert ring.window('left', 31, 99) == []


def test_a_clock_that_jumps_back_loses_nothing():
    ring = filled([100, 200, 5, 6])
    assert [f.stamp_ns for f in ring.window('left', 0, 999)] == [5, 6, 200]
    assert ring.latest('left') == FrameId('left', 6)


def test_a_repeated_stamp_keeps_the_newer_frame():
    ring = filled([1, 2])
    ring.put(FrameId('left', 1), record(77))
    found = ring.get(FrameId('left', 1))
    assert found is not None and found.codes[0] == 77
    assert ring.latest('left') == FrameId('left', 1)
    assert len(ring) == 2
    assert [f.stamp_ns for f in ring.window('left', 0, 9)] == [1, 2]


def test_who_leaves_is_told():
    ring = filled([])
    assert [ring.put(FrameId('left', stamp), record(1)) for stamp in (5, 6, 7)] == [None] * 3
    assert ring.put(FrameId('left', 1), record(1)) == FrameId('left', 5)
    assert ring.put(FrameId('left', 7), record(2)) == FrameId('left', 7)
    assert [f.stamp_ns for f in ring.window('left', 0, 9)] == [1, 6, 7]


def test_nearest():
    ring = filled([10, 20, 30])
    found = {stamp: ring.nearest('left', stamp) for stamp in (-5, 14, 15, 16, 20, 99)}
    assert {stamp: near and near.stamp_ns for stamp, near in found.items()} == {
        -5: 10, 14: 10, 15: 10, 16: 20, 20: 20, 99: 30}
    assert ring.nearest('right', 1) is None
