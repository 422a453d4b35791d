import numpy as np
import pytest

from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import apply_correction, Correction, Selector, Verdict
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing

LAYOUT = FeatureLayout((4,), 3)
CLASSES = ClassList(('cup', 'plate', 'fork'), 3)


def no_new_class(name: str) -> int:
    raise AssertionError(f'{name} must not become a class')


class Desk:
    """A ring of four frames at 1, 2, 3, 4 s and an empty cache."""

    def __init__(self) -> None:
        self.ring, self.cache = FrameRing(['left'], 4), ForwardCache(LAYOUT, 10)
        for second in (0, 1, 2, 3, 4):
            self.see(second)

    def see(self, second: float) -> None:
        features = Features(np.full(4, second, np.float32), np.zeros(3, np.float32))
        gone = self.ring.put(FrameId('left', int(second * 1e9)),
                             FeatureRecord.of(features, LAYOUT))
        if gone is not None:
            self.cache.forget(gone)

    def say(self, label: str | int | None = 'cup', selector: Selector = Selector.STAMP,
            camera: str = 'left', first_s: float = 0, last_s: float = 0, issued: int = 1,
            tolerance_s: float = 0):
        return apply_correction(
            Correction(camera, selector, label, issued, int(first_s * 1e9), int(last_s * 1e9),
                       int(tolerance_s * 1e9)),
            self.ring, self.cache, CLASSES, no_new_class)


def test_by_stamp():
    desk = Desk()
    answer = desk.say('plate', first_s=3)
    assert (answer.verdict, answer.frames, answer.satisfied) == (Verdict.ACCEPTED, 1, True)
    assert desk.cache.label_of(FrameId('left', 3_000_000_000)) == 1


def test_by_class_id():
    desk = Desk()
    assert desk.say(2, first_s=3).verdict is Verdict.ACCEPTED
    assert desk.cache.label_of(FrameId('left', 3_000_000_000)) == 2


def test_latest():
    desk = Desk()
    desk.say('fork', Selector.LATEST)
    assert desk.cache.label_of(FrameId('left', 4_000_000_000)) == 2


def test_window():
    desk = Desk()
    answer = desk.say('cup', Selector.WINDOW, first_s=1.5, last_s=3)
    assert (answer.verdict, answer.frames) == (Verdict.ACCEPTED, 2)


def test_nearest():
    desk = Desk()
    assert desk.say('cup', Selector.NEAREST, first_s=2.95).verdict is Verdict.ACCEPTED
    assert desk.say('fork', Selector.NEAREST, first_s=3.6, tolerance_s=0.5).frames == 1
    labels = {second: desk.cache.label_of(FrameId('left', second * 1_000_000_000))
              for second in (1, 2, 3, 4)}
    assert labels == {1: None, 2: None, 3: 0, 4: 2}


@pytest.mark.parametrize(('correction', 'verdict', 'words'), [
    ({'camera': 'right', 'first_s': 3}, Verdict.UNKNOWN_CAMERA, "'right' is not known"),
    ({'label': 'spoon', 'first_s': 3}, Verdict.UNKNOWN_CLASS, "'spoon' is not known"),
    ({'label': 3, 'first_s': 3}, Verdict.UNKNOWN_CLASS, '3 is not known'),
    ({'label': -1, 'first_s': 3}, Verdict.UNKNOWN_CLASS, '-1 is not known'),
    ({'first_s': 0}, Verdict.LATE, 'no longer held'),
    ({'first_s': 2.5}, Verdict.UNKNOWN_FRAME, 'has no frame'),
    ({'first_s': 99}, Verdict.UNKNOWN_FRAME, 'has no frame'),
    ({'selector': Selector.WINDOW, 'first_s': 3, 'last_s': 2}, Verdict.MALFORMED, 'before'),
    ({'selector': Selector.WINDOW, 'first_s': 0, 'last_s': 0.5}, Verdict.LATE, 'no longer'),
    ({'selector': Selector.NEAREST, 'first_s': 3.5, 'tolerance_s': 0.4}, Verdict.UNKNOWN_FRAME,
     'within 400000000 ns'),
    ({'selector': Selector.NEAREST, 'first_s': 3, 'tolerance_s': -1}, Verdict.MALFORMED,
     'negative'),
    ({'label': None, 'first_s': 3}, Verdict.NOT_LABELLED, 'nothing to retract'),
])
def test_refusals_say_why(correction, verdict, words):
    desk = Desk()
    answer = desk.say(**correction)
    assert answer.verdict is verdict
    assert words in answer.reason
    assert not answer.satisfied and answer.frames == 0
    assert len(desk.cache) == 0


def test_no_frame_yet():
    desk = Desk()
    desk.ring = FrameRing(['left'], 4)
    assert desk.say(selector=Selector.LATEST).verdict is Verdict.UNKNOWN_FRAME


def test_duplicate_satisfies_and_changes_nothing():
    desk = Desk()
    desk.say(first_s=3)
    answer = desk.say(first_s=3)
    assert (answer.verdict, answer.frames, answer.satisfied) == (Verdict.DUPLICATE, 0, True)


def test_contradiction_the_one_issued_last_stands():
    desk = Desk()
    desk.say('cup', first_s=3, issued=5)
    assert desk.say('fork', first_s=3, issued=4).verdict is Verdict.SUPERSEDED
    assert desk.say('plate', first_s=3, issued=6).verdict is Verdict.ACCEPTED
    assert desk.cache.label_of(FrameId('left', 3_000_000_000)) == 1


def test_a_labelled_frame_that_left_the_ring_can_still_be_changed():
    desk = Desk()
    desk.say('cup', first_s=1)
    for second in (5, 6, 7, 8):
        desk.see(second)
    assert desk.say('fork', first_s=1, issued=2).verdict is Verdict.ACCEPTED
    assert desk.say(None, first_s=1, issued=3).verdict is Verdict.ACCEPTED
    assert len(desk.cache) == 0


def test_retraction_of_a_window():
    desk = Desk()
    desk.say('cup', Selector.WINDOW, first_s=1, last_s=4)
    answer = desk.say(None, Selector.WINDOW, first_s=2, last_s=3, issued=2)
    assert (answer.verdict, answer.frames) == (Verdict.ACCEPTED, 2)
    assert len(desk.cache) == 2
