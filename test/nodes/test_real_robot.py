"""What a robot does to the classifier that a demo does not, over DDS."""

from pathlib import Path
import random

from builtin_interfaces.msg import Duration, Time
from lifecycle_msgs.msg import Transition
import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from harness import image_of, resident_mb
from instantft_ros.core.adapter import Adapter
from instantft_ros.demo.belt import STATION
from instantft_ros.msg import Correction, CorrectionAck, LabelRequest, Prediction
from instantft_ros.nodes import qos


def two_bins(robot, index: int) -> np.ndarray:
    """Two garments side by side."""
    x, y, width, height = STATION
    garments = [robot.belt.frame(each)[y:y + height, x:x + width] for each in (index, index + 500)]
    return np.concatenate(garments, axis=1)


def test_regions_are_classified_corrected_and_cached_on_their_own(robot):
    seen = {}
    robot.node.create_subscription(
        Image, 'annotated/camera', lambda m: seen.update(image=m),
        qos.images('reliable', 5))
    size = STATION[2]
    robot.start_classifier(**{
        'camera.region': [0, 0, 0, 0], 'camera.regions': ['left', 'right'],
        'camera.left.region': [0, 0, size, size], 'camera.right.region': [size, 0, size, size],
        'annotated_rate_hz': 1000.0})
    got = {}
    robot.node.create_subscription(
        Prediction, 'predictions',
        lambda p: got.__setitem__((p.header.stamp.sec, p.region), p), qos.predictions())
    for index in range(1, 13):
        robot.images.publish(image_of(two_bins(robot, index), index))
        robot.wait(lambda index=index: (index, 'left') in got and (index, 'right') in got)
    assert robot.correct(5).verdict == CorrectionAck.UNKNOWN_REGION
    assert 'left' in robot.correct(5).reason
    assert robot.correct(5, region='middle').verdict == CorrectionAck.UNKNOWN_REGION
    for index in range(1, 13):
        assert robot.correct(index, region='left').accepted
        ack = robot.correct(index, region='right', class_id=robot.belt.label(index + 500))
        assert ack.accepted and ack.region == 'right' and ack.frames == 1
    robot.wait(lambda: robot.status.adapter_cache_version >= ack.cache_version)
    assert robot.status.cache_samples == 24
    right = 0
    for index in range(1, 13):
        got.clear()
        robot.images.publish(image_of(two_bins(robot, index), index))
        robot.wait(lambda index=index: (index, 'left') in got and (index, 'right') in got)
        right += (got[index, 'left'].class_id == robot.belt.label(index))
        right += (got[index, 'right'].class_id == robot.belt.label(index + 500))
    assert right >= 20
    assert 'image' in seen


def test_an_image_that_only_one_region_fits_into_does_not_take_the_newest_ones_place(robot):
    size, got, renewed = STATION[2], {}, {}
    robot.start_classifier(**{
        'camera.region': [0, 0, 0, 0], 'camera.regions': ['left', 'right'],
        'camera.left.region': [0, 0, size, size], 'camera.right.region': [size, 0, size, size]})
    for topic, into in (('predictions', got), ('renewed_predictions', renewed)):
        robot.node.create_subscription(
            Prediction, topic,
            lambda p, into=into: into.__setitem__((p.header.stamp.sec, p.region), p),
            qos.predictions())
    robot.images.publish(image_of(two_bins(robot, 1), 1))
    robot.wait(lambda: len(got) == 2)
    robot.images.publish(image_of(two_bins(robot, 2)[:, :size], 2))
    robot.wait(lambda: robot.status.images_rejected == 1)
    assert robot.correct(1, region='left').accepted
    robot.wait(lambda: len(renewed) == 2)
    assert set(renewed) == {(1, 'left'), (1, 'right')}
    got.clear()
    robot.images.publish(image_of(two_bins(robot, 1), 1))
    robot.wait(lambda: len(got) == 2)
    for key, prediction in got.items():
        np.testing.assert_array_equal(renewed[key].scores, prediction.scores)


def test_nearest_frame_within_a_tolerance(robot):
    robot.start_classifier(min_corrections=1000, max_wait_s=1e6)
    robot.show(1)
    robot.show(2)
    near = Time(sec=1, nanosec=990_000_000)
    assert robot.correct(2, selector=Correction.NEAREST, stamp=near).frames == 1
    far = Time(sec=2, nanosec=300_000_000)
    assert robot.correct(2, selector=Correction.NEAREST, stamp=far).verdict \
        == CorrectionAck.UNKNOWN_FRAME
    assert robot.correct(2, selector=Correction.NEAREST, stamp=far, class_name='bag',
                         tolerance=Duration(nanosec=400_000_000)).accepted


def test_a_new_class_at_run_time(robot, tmp_path):
    first = robot.start_classifier(max_classes=11, state_directory=str(tmp_path))
    shown = np.zeros((480, 640, 3), np.uint8)
    shown[::40] = shown[10::40] = 255
    for stamp in (1, 2, 3):
        robot.images.publish(image_of(shown, stamp))
        robot.wait(lambda stamp=stamp: stamp in robot.predictions)
    assert len(robot.predictions[3].scores) == 10
    ack = robot.correct(1, class_name='bottle')
    assert ack.accepted, ack.reason
    assert robot.correct(2, class_name='spoon').verdict == CorrectionAck.UNKNOWN_CLASS
    assert 'max_classes' in robot.correct(2, class_name='spoon').reason
    robot.wait(lambda: robot.status.adapter_cache_version >= ack.cache_version)
    assert robot.status.class_names[10] == 'bottle'
    robot.images.publish(image_of(shown, 4))
    robot.wait(lambda: 4 in robot.predictions)
    assert robot.predictions[4].class_name == 'bottle'
    assert len(robot.predictions[4].scores) == 11
    # after a restart its name is given, and the adapter is loaded
    digest, names = robot.status.adapter_digest, list(robot.status.class_names)
    saved = tmp_path / f'adapter-{robot.status.adapter_version:06d}.npz'
    assert first.stop() == 0
    robot.statuses.clear()
    robot.start_classifier(max_classes=11, initial_adapter=str(saved), class_names=names)
    assert robot.status.adapter_digest == digest
    robot.images.publish(image_of(shown, 5))
    robot.wait(lambda: 5 in robot.predictions)
    assert robot.predictions[5].class_name == 'bottle'


def test_it_asks_for_labels_where_it_is_least_sure(robot):
    asked: list[LabelRequest] = []
    robot.node.create_subscription(LabelRequest, 'label_requests', asked.append,
                                   qos.predictions())
    robot.start_classifier(label_requests_per_minute=60.0, label_request_threshold=0.3)
    robot.wait(lambda: robot.node.count_publishers('label_requests') == 1)
    shown = {}
    for index in range(1, 200):
        shown[index] = robot.show(index)
        if len(asked) >= 2:
            break
        robot.spin(0.02)
    robot.wait(lambda: len(asked) >= 2)
    for request in asked[:2]:
        index = request.header.stamp.sec
        scores = np.sort(np.float32(shown[index].scores))
        assert request.uncertainty == np.float32(1) - (scores[-1] - scores[-2])
        assert request.class_name == shown[index].class_name
        assert request.uncertainty >= 0.3
    between = range(asked[0].header.stamp.sec + 1, asked[1].header.stamp.sec)
    margins = [np.diff(sorted(shown[index].scores)[-2:])[0] for index in between]
    assert 1 - asked[1].uncertainty <= min(margins, default=1.0) + 1e-6
    assert robot.correct(asked[0].header.stamp.sec).accepted
    robot.wait(lambda: robot.status.labels_requested >= 2)


def test_repeated_stamps_and_clocks_that_jump(robot):
    robot.start_classifier(ring_frames=4, min_corrections=1000, max_wait_s=1e6)

    def show(stamp: int, index: int) -> None:
        message = robot.image(index)
        message.header.stamp = Time(sec=stamp)
        robot.predictions.clear()
        robot.images.publish(message)
        robot.wait(lambda: stamp in robot.predictions)

    show(1000, 1)
    show(1001, 2)
    show(1001, 3)  # the same stamp again: it names the newer image now
    assert robot.correct(1001).frames == 1
    show(5, 4)     # the clock jumps back by a quarter of an hour: nothing is lost
    assert robot.correct(5).accepted and robot.correct(1000).accepted
    assert robot.correct(0, selector=Correction.LATEST, class_name='bag').frames == 1
    show(9_000_000, 5)  # and forward
    assert robot.correct(9_000_000).accepted
    show(9_000_001, 6)
    show(9_000_002, 7)
    assert robot.correct(1000, class_name='bag').accepted, 'labelled, so it can be relabelled'
    assert robot.correct(5, class_name='coat').accepted
    assert robot.correct(3).verdict == CorrectionAck.LATE
    robot.wait(lambda: robot.status.cache_samples == 4)


def test_a_flood_of_corrections_starves_no_image_and_each_is_answered_or_counted(robot):
    robot.start_classifier(min_corrections=1_000_000, max_wait_s=1e6)
    acks = [0]
    robot.node.create_subscription(
        CorrectionAck, 'correction_acks',
        lambda ack: acks.__setitem__(0, acks[0] + (ack.verdict != CorrectionAck.OVERLOADED)),
        QoSProfile(depth=100_000))
    for index in range(1, 11):
        robot.show(index)
    flood = robot.node.create_publisher(Correction, 'corrections', QoSProfile(depth=60_000))
    robot.wait(lambda: flood.get_subscription_count() == 1)
    robot.wait(lambda: robot.node.count_publishers('correction_acks') == 1)
    count = 30_000
    for number in range(count):
        index = 1 + number % 10
        flood.publish(Correction(stamp=Time(sec=index), class_id=number % 10))
        if number % 10_000 == 9999:
            robot.show(100 + number)
    robot.wait(lambda: (robot.status.corrections_accepted + robot.status.corrections_rejected
                        + robot.status.corrections_dropped) == count, 60.0)
    handled = robot.status.corrections_accepted + robot.status.corrections_rejected
    robot.wait(lambda: acks[0] == handled, 60.0)
    assert robot.status.corrections_queued == 0


def test_more_corrections_than_wait_are_dropped_and_told(robot):
    robot.start_classifier(min_corrections=1_000_000, max_wait_s=1e6)
    overloaded = []
    robot.node.create_subscription(
        CorrectionAck, 'correction_acks',
        lambda ack: overloaded.append(ack) if ack.verdict == CorrectionAck.OVERLOADED else None,
        QoSProfile(depth=100_000))
    flood = robot.node.create_publisher(Correction, 'corrections', QoSProfile(depth=200_000))
    robot.wait(lambda: flood.get_subscription_count() == 1)
    robot.wait(lambda: robot.node.count_publishers('correction_acks') == 1)
    robot.show(1)
    message, sent = Correction(stamp=Time(sec=1), class_id=3), 0
    while robot.status.corrections_dropped == 0 and sent < 500_000:
        for _ in range(20_000):
            flood.publish(message)
        sent += 20_000
        robot.spin(0.05)
    robot.wait(lambda: overloaded, 90.0)
    assert 'dropped unread' in overloaded[0].reason and not overloaded[0].accepted
    robot.wait(lambda: (robot.status.corrections_accepted + robot.status.corrections_rejected
                        + robot.status.corrections_dropped) == sent, 90.0)
    assert robot.status.corrections_dropped > 0
    assert robot.show(2) is not None


def test_two_hundred_lifecycle_cycles_leak_nothing(robot):
    process = robot.start_classifier()

    def state() -> tuple[int, int, int]:
        root = Path(f'/proc/{process.pid}')
        status = (root / 'status').read_text()
        memory_kb = round(1024 * resident_mb(process.pid))
        threads = int(status.split('Threads:')[1].split()[0])
        return memory_kb, threads, len(list((root / 'fd').iterdir()))

    def cycle() -> None:
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
                           Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert robot.change_state(transition)

    for _ in range(20):
        cycle()
    before = state()
    for _ in range(180):
        cycle()
    after = state()
    robot.wait(lambda: robot.images.get_subscription_count() == 1)
    robot.show(1)
    assert after[1:] == before[1:], 'threads, open files'
    assert after[0] - before[0] < 8_000, f'{after[0] - before[0]} kB in 180 cycles'


def test_interrupted_at_any_moment_it_ends_cleanly(robot, tmp_path):
    """What was said to be accepted is in a version or said to be pending; no half files."""
    rng = random.Random(7)
    for round_ in range(4):
        robot.statuses.clear()
        process = robot.start_classifier(state_directory=str(tmp_path))
        for index in range(1, 8):
            robot.images.publish(robot.image(100 * round_ + index))
        robot.spin(0.05)
        for index in range(1, 8):
            robot.corrections.publish(Correction(stamp=Time(sec=100 * round_ + index),
                                                 class_id=1))
        robot.spin(rng.uniform(0.0, 0.25))
        assert process.stop() == 0, process.log.read_text()[-2000:]
        assert 'Traceback' not in process.log.read_text()
        for path in tmp_path.glob('*.npz'):
            Adapter.load(path)
        assert not list(tmp_path.glob('*.tmp*'))
