"""No frame is judged by an adapter that knew its correction."""

from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.corrections import Correction, Selector
from instantft_ros.core.errors import AcceleratorError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.evaluate.judgement import judge
from instantft_ros.evaluate.replay import Replay
from instantft_ros.evaluate.settings import make_pipeline, Settings
from instantft_ros.evaluate.source import Corrected, Frame
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.pipeline import Pipeline, TrainingPolicy

BACKBONE = Backbone(DEFAULT_MANIFEST)
BELT = Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)


def make_replay(accelerator: Accelerator | None = None) -> tuple[Replay, Pipeline]:
    accelerator = accelerator or CpuBackend()
    # a sample that is held out is never trained on: it would prove nothing
    pipeline = make_pipeline(BACKBONE, ('view',), accelerator, Settings(holdout_share=0.0))
    return Replay(pipeline, accelerator, TrainingPolicy(), Region(*STATION)), pipeline


def frame(index: int) -> Frame:
    return Frame(FrameId('view', index), float(index), BELT.frame(index))


def correction(index: int) -> Corrected:
    return Corrected(Correction('view', Selector.STAMP, BELT.label(index), index + 1, index),
                     index + 0.5)


def test_every_correction_is_newer_than_the_adapter_that_judges_its_frame():
    replay, pipeline = make_replay()
    entered = {}
    for index in range(40):
        replay.take(frame(index))
        replay.take(correction(index))
        entered[FrameId('view', index)] = pipeline.cache.version
    judged = judge(replay.log)
    assert list(judged.frames) == list(entered)
    for each in judged.frames:
        assert replay.log.seen[each].cache_version < entered[each]
    # and each was known to the next one's: nothing waits
    assert [replay.log.seen[each].cache_version for each in judged.frames][1:] == list(
        entered.values())[:-1]


def test_a_frame_that_comes_again_is_judged_by_its_first_prediction():
    replay, _ = make_replay()
    index = next(index for index in range(50) if wrong_at_first(index))
    replay.take(frame(index))
    replay.take(correction(index))
    first = replay.log.seen[FrameId('view', index)]
    replay.take(frame(index))
    judged = judge(replay.log)
    assert (len(judged.frames), replay.log.repeated) == (1, 1)
    assert judged.adapted[0] == judged.frozen[0] == first.frozen != BELT.label(index)


def test_after_a_failed_training_the_adapter_stays():
    class Failing(CpuBackend):
        def fine_tune(self, job, on_epoch=None):
            raise AcceleratorError('broken')

    replay, pipeline = make_replay(Failing())
    for index in range(5):
        replay.take(frame(index))
        replay.take(correction(index))
    assert replay.log.failed == {'broken': 5} and pipeline.cache.version == 5
    assert {(each.version, each.cache_version) for each in replay.log.seen.values()} == {(0, 0)}


def wrong_at_first(index: int) -> bool:
    network_input = BACKBONE.preprocess(BELT.frame(index), Region(*STATION))
    return int(BACKBONE.features(network_input).logits.argmax()) != BELT.label(index)
