"""Windows and masks over judged frames."""

import numpy as np

from instantft_ros.core.frame_ring import FrameId
from instantft_ros.evaluate.judgement import Accuracy, accuracy, Judged, over_time


def judged(positions: np.ndarray) -> Judged:
    count = len(positions)
    label = np.zeros(count, int)
    return Judged('ground truth', tuple(FrameId('view', i) for i in range(count)), positions,
                  label, label, label + 1, label)


def test_windows_share_no_frame():
    first, second = over_time(judged(np.arange(81.0)))
    assert (first.first, first.last, second.last) == (0.0, 40.0, 80.0)
    assert (first.accuracy.frames, second.accuracy.frames) == (40, 41)


def test_a_window_may_be_empty():
    windows = over_time(judged(np.concatenate([np.zeros(80), np.full(80, 9.0)])))
    assert [each.accuracy.frames for each in windows] == [80, 0, 0, 80]
    assert windows[1].accuracy == Accuracy(0, None, None)


def test_one_frame_is_one_window():
    (window,) = over_time(judged(np.array([5.0])))
    assert (window.first, window.last, window.accuracy) == (5.0, 5.0, Accuracy(1, 100.0, 0.0))


def test_no_more_windows_than_a_plot_can_show():
    assert len(over_time(judged(np.arange(10_000.0)))) == 40


def test_accuracy_of_what_a_mask_chooses():
    assert accuracy(judged(np.arange(4.0)), np.arange(4) < 3) == Accuracy(3, 100.0, 0.0)
