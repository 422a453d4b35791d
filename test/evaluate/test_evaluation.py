"""A recorded bag, evaluated: the gain, and every figure computed a second time."""

import csv
import json

import cv2
import numpy as np
import pytest

from instantft_ros.__main__ import main
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.corrections import Correction, Selector
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.evaluate.settings import make_pipeline, Settings
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.pipeline import TrainingPolicy

FRAMES, AFTER = 240, 2.5
BACKBONE = Backbone(DEFAULT_MANIFEST)
CLASSES = BACKBONE.manifest.classes


def corrected(recording) -> list:
    """Every second frame is corrected, two and a half frames later."""
    return [recording.correction(index, AFTER) for index in range(0, FRAMES, 2)]


@pytest.fixture(scope='module')
def messages(recording) -> list:
    frames = range(FRAMES)
    return [*map(recording.image, frames), *map(recording.truth, frames), *corrected(recording)]


@pytest.fixture(scope='module')
def expected(recording) -> list[tuple[int, int, int]]:
    """Label, adapted and frozen class of each frame, by a loop of its own."""
    accelerator = CpuBackend()
    view = recording.images    # a frame's name decides its place in the training
    pipeline = make_pipeline(BACKBONE, (view,), accelerator, Settings())
    rows = []
    for index in range(FRAMES):
        done = index - int(AFTER) - 1   # the frame that was corrected since the last one
        if done >= 0 and done % 2 == 0:
            pipeline.correct(Correction(view, Selector.STAMP, recording.belt.label(done), 1,
                                        recording.time_ns(done)))
            job = pipeline.job(TrainingPolicy(), 0)
            pipeline.suspects.look_again(pipeline.cache)
            if job is not None:
                pipeline.adopt(accelerator.fine_tune(job), job, 0, GatePolicy())
        image = recording.pixels(index)
        frame = FrameId(view, recording.time_ns(index))
        prediction = pipeline.classify(frame, image)
        logits = BACKBONE.features(BACKBONE.preprocess(image)).logits
        rows.append((recording.belt.label(index), int(prediction.scores.argmax()),
                     int(logits.argmax())))
    return rows


def evaluate(out, *arguments) -> tuple[dict, list[dict]]:
    assert main(['evaluate', *map(str, arguments), '--out', str(out)]) == 0
    with (out / 'predictions.csv').open() as stream:
        return json.loads((out / 'evaluation.json').read_text()), list(csv.DictReader(stream))


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_corrections_beat_the_frozen_network(recording, messages, expected, storage, tmp_path,
                                             capsys):
    bag = recording.write(tmp_path / 'bag', messages, storage)
    result, rows = evaluate(tmp_path, bag)
    assert [(row['label'], row['adapted'], row['frozen']) for row in rows] == [
        tuple(CLASSES[each] for each in row) for row in expected]
    assert result['judged_by'] == 'ground truth'
    assert result['frames'] == {'read': FRAMES, 'classified': FRAMES, 'rejected': 0,
                                'repeated_stamps': 0, 'judged': FRAMES}
    assert result['corrections'] == {'received': FRAMES // 2, 'accepted': FRAMES // 2,
                                     'refused': 0}
    # nothing is left to train on where the first correction was held out
    assert result['adapters']['trained'] in (FRAMES // 2, FRAMES // 2 - 1)
    since = result['accuracy_since_first_adapter']
    assert since['adapted'] > since['frozen'] + 20
    shown = capsys.readouterr().out
    assert f'{since["adapted"]:.1f} %' in shown and f'{since["frozen"]:.1f} %' in shown
    assert cv2.imread(str(tmp_path / 'accuracy.png')).shape[1] == 1200


def percent(rows: list[dict], column: str) -> float | None:
    right = [row[column] == row['label'] for row in rows]
    return round(100 * sum(right) / len(right), 2) if rows else None


def test_figures_are_those_of_the_predictions(recording, messages, tmp_path):
    result, rows = evaluate(tmp_path, recording.write(tmp_path / 'bag', messages))

    def same(given: dict, chosen: list[dict]) -> None:
        assert given['frames'] == len(chosen)
        for column in ('adapted', 'frozen'):
            assert given[column] == pytest.approx(percent(chosen, column), abs=0.011)

    same(result['accuracy'], rows)
    same(result['accuracy_since_first_adapter'], [row for row in rows if row['version'] != '0'])
    for name in CLASSES:
        same(result['accuracy_per_class'][name], [row for row in rows if row['label'] == name])
    windows = result['accuracy_over_time']
    assert len(windows) == FRAMES // 40
    assert sum(window['frames'] for window in windows) == FRAMES
    for window in windows:
        last = np.inf if window is windows[-1] else window['last']
        same(window, [row for row in rows
                      if window['first'] <= float(row['position']) < last])
    assert windows[-1]['last'] == pytest.approx((FRAMES - 1) / recording.rate_hz)


def test_without_ground_truth_the_corrected_frames_judge(recording, messages, expected, tmp_path):
    bag = recording.write(tmp_path / 'bag', [each for each in messages
                                             if each.topic != recording.truths])
    result, rows = evaluate(tmp_path, bag)
    assert result['judged_by'] == 'corrections'
    assert [int(row['stamp_ns']) for row in rows] == list(
        map(recording.time_ns, range(0, FRAMES, 2)))
    assert [(row['label'], row['adapted']) for row in rows] == [
        (CLASSES[label], CLASSES[adapted]) for label, adapted, _ in expected[::2]]


def test_the_last_word_on_a_frame_judges_it(recording, tmp_path):
    label = recording.belt.label
    result, rows = evaluate(tmp_path, recording.write(tmp_path / 'bag', [
        *map(recording.image, range(8)),
        recording.correction(0, 1.5, class_id=(label(0) + 1) % 10), recording.correction(0, 2.5),
        recording.correction(1, 3.5),   # issued before the next one, comes after it
        recording.correction(1, 2.5, header=recording.header(6), class_name='bag'),
        recording.correction(2, 2.5), recording.correction(2, 3.5, operation=1),
        recording.correction(3, 3.5, selector=2, stamp_end=recording.stamp(4)),
        recording.correction(5, 1.5, header=recording.header(9), class_name='coat'),
        # a window where one of two frames has a word that was given later
        recording.correction(5, 2.5, selector=2, stamp_end=recording.stamp(6)),
        recording.correction(7, 1.5, selector=1),
    ]))
    assert [row['label'] for row in rows] == [
        CLASSES[label(0)], 'bag', *[CLASSES[label(3)]] * 2, 'coat', CLASSES[label(5)],
        CLASSES[label(7)]]
    assert result['corrections'] == {'received': 10, 'accepted': 9, 'refused': 1}


def test_cameras_are_told_apart(recording, tmp_path):
    messages = [each for index in range(6) for each in (
        recording.image(index, '/front/image'), recording.image(index, '/rear/image'))]
    messages += [recording.correction(2, 1.5, camera='rear'),
                 recording.correction(3, 1.5, camera='left')]
    bag = recording.write(tmp_path / 'bag', messages)
    result, rows = evaluate(tmp_path, bag, '--images', 'front=front/image',
                            '--images', 'rear=/rear/image')
    assert [(row['view'], int(row['stamp_ns'])) for row in rows] == [
        ('rear', recording.time_ns(2))]
    assert result['frames']['classified'] == 12
    assert "'left' is not known" in next(iter(result['reasons']['corrections_refused']))


def test_by_default_copies_of_the_images_are_left_out(recording, tmp_path):
    messages = [each for index in range(5) for each in (
        recording.image(index), recording.compressed(index), recording.truth(index),
        recording.image(index, '/annotated/camera'))]
    bag = recording.write(tmp_path / 'bag', messages)
    result, _ = evaluate(tmp_path, bag)
    assert result['frames']['read'] == 5
    compressed, _ = evaluate(tmp_path, bag, '--images',
                             'image_raw/compressed')
    assert compressed['accuracy'] == result['accuracy']


def test_max_frames(recording, messages, tmp_path):
    bag = recording.write(tmp_path / 'bag', messages[:20] + messages[FRAMES:FRAMES + 20])
    result, _ = evaluate(tmp_path, bag, '--max-frames', '7')
    assert result['frames']['read'] == 7


def test_the_region_is_cut_out_of_every_image(recording, messages, tmp_path):
    def surrounded(index: int) -> np.ndarray:
        return cv2.copyMakeBorder(recording.pixels(index), 5, 7, 20, 30, cv2.BORDER_CONSTANT,
                                  value=(0, 200, 255))

    _, rows = evaluate(tmp_path, recording.write(tmp_path / 'a', [
        each for index in range(20) for each in (
            recording.image(index), recording.truth(index), recording.correction(index, 1.5))]))
    _, surrounded_rows = evaluate(tmp_path, recording.write(tmp_path / 'b', [
        each for index in range(20) for each in (
            recording.image(index, pixels=surrounded(index)), recording.truth(index),
            recording.correction(index, 1.5))]), '--region', 20, 5, 112, 112)
    assert surrounded_rows == rows


def test_one_image_of_another_size_is_rejected(recording, tmp_path):
    small = recording.image(3, pixels=recording.pixels(3)[:50, :50])
    frames = [recording.image(index) for index in range(6) if index != 3]
    bag = recording.write(tmp_path / 'bag', [*frames, small, *map(recording.truth, range(6))])
    result, rows = evaluate(tmp_path, bag, '--region', 20, 20, 80, 80)
    assert (result['frames']['rejected'], len(rows)) == (1, 5)
