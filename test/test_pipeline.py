"""The whole flow without ROS: drift, corrections, fine-tuning, better predictions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.adaptation.versions import VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import Correction, Selector, Verdict
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.core.replay import ReplaySet
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.pipeline import Pipeline, TrainingPolicy

BACKBONE = Backbone(DEFAULT_MANIFEST)
REPLAY = ReplaySet.load(BACKBONE, 8)
GUARD = ReplaySet.load(BACKBONE, 8, skip=8)

#: What the node does, and what neither weight decay nor scaled logits hold back.
DEFAULT = TrainingPolicy()
CARELESS = TrainingPolicy(weight_decay=0.0, fit_logits=False)


def make_pipeline(replay: ReplaySet = REPLAY, guard: ReplaySet = GUARD,
                  **cache: object) -> Pipeline:
    return Pipeline(BACKBONE, FrameRing(['camera'], 1000),
                    ForwardCache(BACKBONE.layout, 512, **cache),
                    VersionHistory(Adapter.initial(BACKBONE.layout, BACKBONE.digest)),
                    ClassList(BACKBONE.manifest.classes, 10, most=12), replay, guard)


def accuracy(pipeline: Pipeline, belt: Belt, garments: Sequence[int]) -> float:
    right = 0
    for index in garments:
        frame = FrameId('camera', index)
        prediction = pipeline.classify(frame, belt.frame(index), Region(*STATION))
        right += int(prediction.scores.argmax()) == belt.label(index)
    return right / len(garments)


def train(pipeline: Pipeline, accelerator: Accelerator, held: int = 0,
          policy: TrainingPolicy = DEFAULT) -> int:
    job = pipeline.job(policy, held)
    assert job is not None
    result = accelerator.fine_tune(job)
    decision, _ = pipeline.adopt(result, job, pipeline.versions.current.number, GatePolicy())
    assert decision.accepted, decision.reason
    return job.update.version


def test_corrections_are_learned():
    tilted = Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)
    pipeline, accelerator = make_pipeline(holdout_share=0.1), CpuBackend()
    learn, test = range(250), range(300, 450)
    before = accuracy(pipeline, tilted, test)
    accuracy(pipeline, tilted, learn)
    held = 0
    for index in learn:
        answer = pipeline.correct(Correction('camera', Selector.STAMP, tilted.label(index),
                                             issued_ns=1, first_ns=index))
        assert answer.satisfied
        if index % 125 == 124:
            held = train(pipeline, accelerator, held)
    after = accuracy(pipeline, tilted, test)
    assert before < 0.25
    assert after > before + 0.4
    assert pipeline.versions.current.number == 2


def test_the_newest_image_is_predicted_again_by_a_new_adapter():
    belt = Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)
    pipeline, accelerator = make_pipeline(holdout_share=0.0), CpuBackend()
    accuracy(pipeline, belt, range(19))
    before = pipeline.classify(FrameId('camera', 19), belt.frame(19), Region(*STATION))
    for index in range(20):
        pipeline.correct(Correction('camera', Selector.STAMP, belt.label(index), issued_ns=1,
                                    first_ns=index))
    train(pipeline, accelerator)
    renewed = pipeline.renew(before)
    again = pipeline.classify(FrameId('camera', 19), belt.frame(19), Region(*STATION))
    assert before.version.number == 0 and renewed.version.number == 1
    assert renewed.frame == again.frame
    np.testing.assert_array_equal(renewed.scores, again.scores)
    assert renewed.scores.argmax() == belt.label(19) != before.scores.argmax()


def test_what_left_the_ring_unlabelled_is_forgotten():
    belt = Belt(seed=3, drift=Drift(), dwell=1)
    pipeline = make_pipeline()
    pipeline.ring = FrameRing(['camera'], 3)
    for index in range(8):
        accuracy(pipeline, belt, range(index, index + 1))
        pipeline.correct(Correction('camera', Selector.STAMP, None if index % 2 else 1, 1, index))
    assert len(pipeline.cache._entries) == 4 + 2, 'four labelled, two retractions still held'
    assert sum(entry.record is not None for entry in pipeline.cache._entries.values()) == 1


def test_suspects_are_set_aside_only_when_they_are_many():
    belt = Belt(seed=3, drift=Drift(start_s=1e9, end_s=1e9), dwell=1)
    pipeline = make_pipeline()
    wrong = set(range(0, 200, 4))
    accuracy(pipeline, belt, range(200))
    for index in range(200):
        error = 1 + index % 9 if index in wrong else 0
        label = (belt.label(index) + error) % 10
        pipeline.correct(Correction('camera', Selector.STAMP, label, 1, index))
    for _ in range(3):
        pipeline.suspects.look(pipeline.cache)
    slots = pipeline.cache.training_order()
    found = pipeline.suspects.among(pipeline.cache, slots)
    assert 20 < found.sum() < 60
    for share, left_out in ((0.1, found.sum()), (0.9, 0)):
        job = pipeline.job(TrainingPolicy(quarantine_share=share), 0)
        assert job is not None
        assert (job.order < pipeline.cache.capacity).sum() == 200 - left_out


def test_without_corrections_there_is_no_job():
    assert make_pipeline().job(TrainingPolicy(), 0) is None


def test_step_is_relative_to_the_features():
    pipeline = make_pipeline()
    belt = Belt(seed=3, drift=Drift(), dwell=1)
    accuracy(pipeline, belt, range(4))
    pipeline.correct(Correction('camera', Selector.WINDOW, 1, 1, 0, 3))
    x, _, _ = pipeline.cache.samples(pipeline.cache.training_order())
    norm = (x ** 2).sum(axis=1).mean()
    for optimizer, wanted in (('sgd', 20.0 / norm), ('adam', 20.0 / norm ** 0.5)):
        job = pipeline.job(TrainingPolicy(optimizer, rate=20.0), 0)
        assert job is not None
        assert job.schedule.learning_rate == pytest.approx(wanted, rel=0.02)


def test_few_samples_are_visited_more_often():
    policy = TrainingPolicy()
    assert [policy.schedule(count, 1.0).epochs for count in (1, 256, 512, 1024, 4096)] \
        == [60, 40, 20, 10, 10]
    assert TrainingPolicy(epochs=3).schedule(1, 1.0).epochs == 3
    assert policy.schedule(7, 1.0).batch_size == 7


def train_is_refused_by_the_guard(pipeline: Pipeline, belt: Belt, learn: range) -> bool:
    """Corrections of one class alone, and no replay: what was known is lost, and that shows."""
    accuracy(pipeline, belt, learn)
    for index in [index for index in learn if belt.label(index) == 4]:
        pipeline.correct(Correction('camera', Selector.STAMP, 4, issued_ns=1, first_ns=index))
    job = pipeline.job(CARELESS, 0)
    assert job is not None
    decision, version = pipeline.adopt(CpuBackend().fine_tune(job), job, 0, GatePolicy())
    return 'guard' in decision.reason and version.number == 0


def test_corrections_of_one_class_leave_the_others_alone():
    upright = Belt(seed=3, drift=Drift(start_s=1e9, end_s=1e9), dwell=1)
    learn, test = range(250), range(300, 450)
    accuracies = {}
    nothing = ReplaySet.empty(BACKBONE.layout)
    assert train_is_refused_by_the_guard(make_pipeline(nothing), upright, learn)
    for name, pipeline in (('replay', make_pipeline()),
                           ('none', make_pipeline(nothing, nothing))):
        before = accuracy(pipeline, upright, test)
        accuracy(pipeline, upright, learn)
        for index in [index for index in learn if upright.label(index) == 4]:
            pipeline.correct(Correction('camera', Selector.STAMP, 4, issued_ns=1, first_ns=index))
        train(pipeline, CpuBackend(), policy=CARELESS if name == 'none' else DEFAULT)
        accuracies[name] = accuracy(pipeline, upright, test)
    assert accuracies['replay'] > before - 0.15
    assert accuracies['none'] < 0.5  # what the replay samples are there for


def test_a_batch_of_one_class_does_not_make_everything_that_class():
    belt = Belt(seed=3, drift=Drift(-1.0, -1.0, tilt_deg=15.0, gain=0.5), dwell=1)
    bags = [index for index in range(600) if belt.label(index) == 8][:30]
    others = [index for index in range(700, 900) if belt.label(index) != 8]
    adapted = {}
    for adjustment in (0.0, 1.0):
        pipeline = make_pipeline()
        accuracy(pipeline, belt, bags)
        for index in bags:
            pipeline.correct(Correction('camera', Selector.STAMP, 8, issued_ns=1, first_ns=index))
        train(pipeline, CpuBackend(), policy=TrainingPolicy(logit_adjustment=adjustment))
        adapted[adjustment] = accuracy(pipeline, belt, others)
        assert accuracy(pipeline, belt, bags) > 0.9
    assert adapted[1.0] > adapted[0.0] + 0.05


@pytest.mark.parametrize(('rate', 'fit_logits'), [(20.0, False), (0.0, True)])
def test_hundreds_of_warm_trainings_do_not_blow_the_weights_up(rate, fit_logits):
    """As on the KV260, and at a rate where without a limit |A| grows beyond all bounds."""
    tilted = Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)
    pipeline, accelerator = make_pipeline(), CpuBackend()
    learn = range(30)
    accuracy(pipeline, tilted, learn)
    largest = 0.0
    for repetition in range(200):
        index = repetition % len(learn)
        pipeline.correct(Correction('camera', Selector.STAMP, tilted.label(index), repetition,
                                    index))
        job = pipeline.job(TrainingPolicy('sgd', 10, 1, rate, warm_start=True,
                                          fit_logits=fit_logits), 0)
        assert job is not None
        result = accelerator.fine_tune(job)
        pipeline.adopt(result, job, 0, GatePolicy(loss_tolerance=100.0))
        largest = max(largest, float(np.abs(result.adapter.a).max()))
    assert largest < 20.0
    assert accuracy(pipeline, tilted, learn) > 0.9


def test_the_frozen_network_is_trusted_as_far_as_the_corrections_say():
    learn = range(60)
    scales = []
    for tilt_s in (1e9, -1.0):
        belt = Belt(seed=3, drift=Drift(start_s=tilt_s, end_s=tilt_s), dwell=1)
        pipeline = make_pipeline()
        accuracy(pipeline, belt, learn)
        for index in learn:
            pipeline.correct(Correction('camera', Selector.STAMP, belt.label(index), issued_ns=1,
                                        first_ns=index))
        for policy in (TrainingPolicy(), TrainingPolicy(fit_logits=False)):
            job = pipeline.job(policy, 0)
            assert job is not None
            scales.append(job.start.logit_scale)
    upright, plain, tilted, tilted_plain = scales
    assert plain == tilted_plain == 1.0
    assert 0.75 <= upright <= 1.25
    assert tilted < 0.75 * upright
    assert pipeline.initial.logit_scale == 1.0
    pipeline.versions.adopt(replace(pipeline.initial, logit_scale=0.25), 0, 1)
    warm = pipeline.job(TrainingPolicy(warm_start=True, fit_logits=False), 0)
    assert warm is not None and warm.start.logit_scale == 0.25


def test_a_class_that_the_network_never_knew_is_learned():
    belt = Belt(seed=3, drift=Drift(start_s=1e9, end_s=1e9), dwell=1)
    pipeline, accelerator = make_pipeline(), CpuBackend()
    bottles = {index for index in range(300) if index % 10 == 0}

    def show(index: int) -> np.ndarray:
        image = belt.frame(index).copy()
        if index in bottles:  # what the network has never seen: thick stripes
            x, y, width, height = STATION
            image[y:y + height, x:x + width] = 0
            image[y:y + height:40, x:x + width] = 255
            image[y + 10:y + height:40, x:x + width] = 255
        return image

    def hits(indices: range) -> tuple[float, float]:
        known, new = [], []
        for index in indices:
            prediction = pipeline.classify(FrameId('camera', index), show(index),
                                           Region(*STATION))
            label = 10 if index in bottles else belt.label(index)
            (new if index in bottles else known).append(prediction.scores.argmax() == label)
        return float(np.mean(known)), float(np.mean(new))

    known_before, _ = hits(range(150))
    before = pipeline.versions.current
    scores = pipeline.classify(FrameId('camera', 0), show(0), Region(*STATION)).scores
    for index in sorted(bottles & set(range(150))):
        answer = pipeline.correct(Correction('camera', Selector.STAMP, 'bottle', 1, index))
        assert answer.verdict is Verdict.ACCEPTED
    assert pipeline.classes.names[10] == 'bottle'
    grown = pipeline.versions.current
    assert grown.number == before.number + 1 and grown.parent == before.number
    again = pipeline.classify(FrameId('camera', 0), show(0), Region(*STATION)).scores
    assert again.argmax() == scores.argmax(), 'a new class changes no prediction by itself'
    np.testing.assert_allclose(again[:10] / again[:10].sum(), scores, rtol=1e-4)

    train(pipeline, accelerator)
    known, new = hits(range(150, 300))
    assert new > 0.9
    assert known > known_before - 0.25  # they have eight replay samples each, and no correction
    back = pipeline.go_back(0)
    assert back.adapter.layout.classes == 11, 'an older adapter is widened'
    assert hits(range(150, 200))[1] == 0.0


def test_a_class_that_came_during_a_training_is_kept():
    belt = Belt(seed=3, drift=Drift(), dwell=1)
    pipeline, accelerator = make_pipeline(), CpuBackend()
    accuracy(pipeline, belt, range(4))
    pipeline.correct(Correction('camera', Selector.STAMP, 1, 1, 0))
    job = pipeline.job(TrainingPolicy(), 0)
    assert job is not None
    result = accelerator.fine_tune(job)
    pipeline.correct(Correction('camera', Selector.STAMP, 'bottle', 1, 1))
    decision, version = pipeline.adopt(result, job, 0, GatePolicy())
    assert decision.accepted and version.adapter.layout.classes == 11
    again = pipeline.job(TrainingPolicy(), 0)
    assert again is not None and again.update.session != job.update.session
    assert accelerator.fine_tune(again).adapter.layout.classes == 11


def test_room_for_classes_is_bounded():
    belt = Belt(seed=3, drift=Drift(), dwell=1)
    pipeline = make_pipeline()
    accuracy(pipeline, belt, range(8))
    say = {name: pipeline.correct(Correction('camera', Selector.STAMP, name, 1, stamp))
           for stamp, name in enumerate(['one', ' blank', 'no frame', 'two', 'three'])
           if name != 'no frame'}
    say['no frame'] = pipeline.correct(Correction('camera', Selector.STAMP, 'other', 1, 99))
    assert {name: answer.verdict for name, answer in say.items()} == {
        'one': Verdict.ACCEPTED, ' blank': Verdict.UNKNOWN_CLASS, 'two': Verdict.ACCEPTED,
        'three': Verdict.UNKNOWN_CLASS, 'no frame': Verdict.UNKNOWN_CLASS}
    assert 'max_classes' in say['three'].reason and 'printable' in say[' blank'].reason
    pipeline = make_pipeline()
    accuracy(pipeline, belt, range(8))
    pipeline.classes.accelerator_limit = 10
    answer = pipeline.correct(Correction('camera', Selector.STAMP, 'one', 1, 1))
    assert answer.verdict is Verdict.UNKNOWN_CLASS and 'accelerator' in answer.reason
    answer = pipeline.correct(Correction('camera', Selector.STAMP, 'one', 1, 77))
    assert len(pipeline.classes) == 10, 'a frame that is not there makes no class'


def test_adapter_of_another_network_is_refused_at_the_start():
    with pytest.raises(AdapterError, match='backbone'):
        Pipeline(BACKBONE, FrameRing(['camera'], 1), ForwardCache(BACKBONE.layout, 1),
                 VersionHistory(Adapter.initial(BACKBONE.layout, 'ab' * 32)),
                 ClassList(BACKBONE.manifest.classes, 10), REPLAY, GUARD)


def test_frames_of_the_belt_depend_on_seed_and_number_alone():
    first, second = (Belt(seed=5, drift=Drift()) for _ in range(2))
    np.testing.assert_array_equal(first.frame(700), second.frame(700))
    assert (first.frame(700) != Belt(seed=6, drift=Drift()).frame(700)).any()
