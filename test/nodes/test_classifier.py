"""The classifier and the accelerator, as processes, over DDS."""

from array import array

from builtin_interfaces.msg import Time
import cv2
from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.demo.belt import STATION
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.msg import Correction, CorrectionAck, Prediction, Status
from instantft_ros.nodes import qos
from instantft_ros.pipeline import softmax
from instantft_ros.srv import Rollback


@pytest.mark.parametrize('trainer', ['own', 'accelerator'])
def test_corrections_make_predictions_better(robot, trainer):
    if trainer == 'accelerator':
        robot.start_accelerator()
    robot.start_classifier()
    test = range(300, 360)
    before = robot.accuracy(test)
    robot.accuracy(range(120))
    ack = robot.learn(range(120))
    after = robot.accuracy(test)
    assert before < 0.25
    assert after > before + 0.25
    prediction = robot.show(300)
    assert prediction.header.frame_id == 'belt'
    assert prediction.adapter_version == robot.status.adapter_version > 0
    assert prediction.adapter_cache_version >= ack.cache_version
    assert sum(prediction.scores) == pytest.approx(1.0, abs=1e-5)
    assert prediction.confidence == max(prediction.scores)
    assert prediction.latency_ms > 0
    status = robot.status
    assert status.trainings_failed == status.trainings_refused == 0
    assert status.backend == 'cpu' and status.train_ms > 0
    assert status.cache_samples == 120
    assert status.images_received == status.predictions


def test_each_kind_of_correction_is_answered(robot):
    robot.start_classifier(ring_frames=5, min_corrections=1000, max_wait_s=1e6)
    for index in range(1, 8):
        robot.show(index)
    answers = {
        'late': robot.correct(1), 'unknown frame': robot.correct(99),
        'unknown camera': robot.correct(5, camera='rear'),
        'unknown class': robot.correct(5, class_name='spoon'),
        'unknown class id': robot.correct(5, class_id=10),
        'bad selector': robot.correct(5, selector=9),
        'bad operation': robot.correct(5, operation=9),
        'backward window': robot.correct(5, selector=Correction.WINDOW, stamp_end=Time(sec=4)),
        'nothing to retract': robot.correct(6, operation=Correction.RETRACT),
        'accepted': robot.correct(5, class_name='bag'),
        'duplicate': robot.correct(5, class_name='bag'),
        'contradiction': robot.correct(5, class_name='coat'),
        'older contradiction': robot.correct(5, class_name='shirt',
                                             header=Correction().header),
        'retracted': robot.correct(5, operation=Correction.RETRACT),
        'latest': robot.correct(0, selector=Correction.LATEST, camera=''),
        'window': robot.correct(3, selector=Correction.WINDOW, stamp_end=Time(sec=6)),
    }
    verdicts = {name: (ack.accepted, ack.verdict, ack.frames) for name, ack in answers.items()}
    assert verdicts == {
        'late': (False, CorrectionAck.LATE, 0),
        'unknown frame': (False, CorrectionAck.UNKNOWN_FRAME, 0),
        'unknown camera': (False, CorrectionAck.UNKNOWN_CAMERA, 0),
        'unknown class': (False, CorrectionAck.UNKNOWN_CLASS, 0),
        'unknown class id': (False, CorrectionAck.UNKNOWN_CLASS, 0),
        'bad selector': (False, CorrectionAck.MALFORMED, 0),
        'bad operation': (False, CorrectionAck.MALFORMED, 0),
        'backward window': (False, CorrectionAck.MALFORMED, 0),
        'nothing to retract': (False, CorrectionAck.NOT_LABELLED, 0),
        'accepted': (True, CorrectionAck.ACCEPTED, 1),
        'duplicate': (True, CorrectionAck.DUPLICATE, 0),
        'contradiction': (True, CorrectionAck.ACCEPTED, 1),
        # without a stamp of its own it counts as issued now, which is later than the others
        'older contradiction': (True, CorrectionAck.ACCEPTED, 1),
        'retracted': (False, CorrectionAck.SUPERSEDED, 0),
        'latest': (True, CorrectionAck.ACCEPTED, 1),
        'window': (True, CorrectionAck.ACCEPTED, 3),
    }
    assert all(ack.reason and ack.operator_id == 'test' for ack in answers.values())
    robot.wait(lambda: robot.status.corrections_accepted == 6)
    assert robot.status.corrections_rejected == 10


def malformed() -> list[Image]:
    def image(**fields: object) -> Image:
        good = {'encoding': 'mono8', 'width': 640, 'height': 480, 'step': 640,
                'data': array('B', bytes(640 * 480))}
        return Image(**{**good, **fields})

    return [image(encoding='nonsense'), image(encoding=''), image(width=0), image(height=0),
            image(width=2**32 - 1), image(height=2**32 - 1), image(step=1),
            image(step=2**32 - 1), image(data=array('B')), image(data=array('B', bytes(100))),
            # whole, but too small for the region
            image(width=4, height=4, step=4, data=array('B', bytes(16)))]


def test_malformed_images_are_counted_and_survived(robot):
    classifier = robot.start_classifier()
    for count, image in enumerate(malformed(), start=1):
        robot.images.publish(image)
        robot.wait(lambda count=count: robot.status.images_rejected == count)
    assert classifier.alive
    robot.show(1)
    robot.wait(lambda: robot.status.predictions == 1)
    assert robot.status.images_received == len(malformed()) + 1


def test_frames_older_than_allowed_are_dropped_and_counted(robot):
    robot.start_classifier(max_age_ms=60_000.0)
    old = Image(encoding='mono8', width=640, height=480, step=640,
                data=array('B', bytes(640 * 480)))
    old.header.stamp.sec = 1
    robot.images.publish(old)
    robot.wait(lambda: robot.status.images_stale == 1)
    assert robot.status.predictions == 0 and robot.status.images_received == 1


def test_compressed_images(robot):
    images = robot.node.create_publisher(CompressedImage, 'image_raw/compressed',
                                         qos.images('reliable', 5))
    robot.start_classifier(images, **{'camera.topic': 'image_raw/compressed'})
    _, data = cv2.imencode('.jpg', robot.belt.frame(1))
    message = CompressedImage(format='jpeg', data=array('B', data.tobytes()))
    message.header.stamp.sec = 1
    images.publish(message)
    robot.wait(lambda: 1 in robot.predictions)


def test_newest_image_wins_and_the_others_are_counted(robot):
    robot.start_classifier(image_depth=50)
    burst = [robot.image(index) for index in range(1, 41)]
    for image in burst:
        robot.images.publish(image)
    robot.wait(lambda: 40 in robot.predictions)
    robot.wait(lambda: robot.status.images_received == 40)
    status = robot.status
    assert status.predictions + status.images_superseded == 40
    assert status.predictions == len(robot.predictions)


def test_annotated_image(robot):
    seen: list[Image] = []
    robot.node.create_subscription(Image, 'annotated/camera', seen.append,
                                   qos.images('reliable', 5))
    robot.start_classifier(annotated_rate_hz=1000.0)
    robot.wait(lambda: robot.show(1) and seen)
    drawn = np.frombuffer(seen[-1].data, np.uint8).reshape(480, 640, 3)
    plain = robot.belt.frame(1)
    assert (drawn != plain).any(axis=2).mean() > 0.05
    np.testing.assert_array_equal(drawn[200:250, 200:250], plain[200:250, 200:250])


def test_the_newest_image_is_predicted_again_after_a_swap(robot):
    renewed: list[Prediction] = []
    drawn: list[Image] = []
    robot.node.create_subscription(Prediction, 'renewed_predictions', renewed.append,
                                   qos.predictions())
    robot.node.create_subscription(Image, 'annotated/camera', drawn.append,
                                   qos.images('reliable', 5))
    robot.start_classifier(annotated_rate_hz=1000.0)
    robot.wait(lambda: robot.show(1) and drawn)
    assert not renewed
    drawn.clear()
    ack = robot.correct(1)
    robot.wait(lambda: renewed and renewed[-1].adapter_cache_version >= ack.cache_version)
    robot.wait(lambda: drawn)
    said = renewed[-1]
    assert said.header.stamp.sec == 1 and said.header.frame_id == 'belt'
    assert said.latency_ms > robot.predictions[1].latency_ms
    assert robot.predictions[1].adapter_version == 0  # the topic for robots has one an image
    again = robot.show(1)
    assert (said.adapter_version, said.class_id) == (again.adapter_version, again.class_id)
    np.testing.assert_array_equal(said.scores, again.scores)
    assert robot.call(Rollback, 'classifier/rollback', to_parent=True).success
    robot.wait(lambda: renewed[-1].adapter_version > said.adapter_version)
    np.testing.assert_allclose(renewed[-1].scores, softmax_of_the_frozen(robot), atol=1e-5)
    assert robot.status.predictions == robot.status.images_received > 0


def softmax_of_the_frozen(robot) -> np.ndarray:
    """Give what the network says of frame 1 without any adapter."""
    backbone = Backbone(DEFAULT_MANIFEST)
    features = backbone.features(backbone.preprocess(robot.belt.frame(1), Region(*STATION)))
    return softmax(features.logits)


def test_services(robot, tmp_path):
    # warm: a second training on the same samples gives another adapter
    robot.start_classifier(state_directory=str(tmp_path / 'state'), warm_start=True)

    empty = robot.call(Trigger, 'classifier/retrain')
    assert not empty.success and 'no sample' in empty.message

    robot.accuracy(range(20))
    robot.learn(range(20))
    version = robot.status.adapter_version

    assert robot.call(Trigger, 'classifier/retrain').success
    robot.wait(lambda: robot.status.adapter_version == version + 1)

    saved = robot.call(Trigger, 'classifier/save')
    assert saved.success, saved.message
    path = tmp_path / 'state' / f'adapter-{version + 1:06d}.npz'
    assert Adapter.load(path).digest() == robot.status.adapter_digest

    digest_before = robot.status.adapter_digest
    back = robot.call(Rollback, 'classifier/rollback', to_parent=True)
    assert back.success and back.adapter_version == version + 2
    robot.wait(lambda: robot.status.adapter_version == version + 2)
    assert robot.status.adapter_digest != digest_before
    assert robot.status.adapter_parent == version
    assert robot.call(Rollback, 'classifier/rollback', version=version + 1).success
    robot.wait(lambda: robot.status.adapter_digest == digest_before)
    unknown = robot.call(Rollback, 'classifier/rollback', version=77)
    assert not unknown.success and 'version 77 is not there' in unknown.message

    assert robot.call(SetBool, 'classifier/freeze', data=True).success
    robot.wait(lambda: robot.status.state == Status.FROZEN)
    assert 'frozen' in robot.call(Trigger, 'classifier/retrain').message
    trainings = robot.status.trainings
    robot.show(30)
    assert robot.correct(30).accepted
    robot.spin(1.5)
    assert robot.status.trainings == trainings
    assert robot.status.corrections_pending == 1
    assert robot.call(SetBool, 'classifier/freeze', data=False).success
    robot.wait(lambda: robot.status.trainings == trainings + 1)

    assert robot.call(Trigger, 'classifier/clear').message == '21 samples forgotten'
    robot.wait(lambda: robot.status.cache_samples == 0)


def test_save_without_a_folder_says_so(robot):
    robot.start_classifier()
    answer = robot.call(Trigger, 'classifier/save')
    assert not answer.success and 'state_directory' in answer.message


def test_starts_from_a_saved_adapter_and_refuses_a_foreign_one(robot, tmp_path):
    first = robot.start_classifier(state_directory=str(tmp_path))
    robot.accuracy(range(20))
    robot.learn(range(20))
    digest, version = robot.status.adapter_digest, robot.status.adapter_version
    assert first.stop() == 0, first.log.read_text()
    robot.statuses.clear()
    saved = tmp_path / f'adapter-{version:06d}.npz'
    second = robot.start_classifier(initial_adapter=str(saved))
    assert robot.status.adapter_digest == digest
    assert second.stop() == 0

    good = Adapter.load(saved)
    foreign = tmp_path / 'foreign.npz'
    foreign.write_bytes(Adapter(good.layout, good.a, good.b, 'ab' * 32).to_bytes())
    third = robot.start('classifier', initial_adapter=str(foreign))
    robot.wait(lambda: 'was made for backbone' in third.log.read_text())
    assert third.alive


def test_lifecycle(robot):
    robot.start_classifier()
    robot.show(1)
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    robot.wait(lambda: robot.images.get_subscription_count() == 0)
    robot.wait(lambda: robot.status.state == Status.INACTIVE)
    robot.predictions.clear()
    robot.spin(0.3)  # what was under way arrives
    seen = len(robot.statuses)
    robot.images.publish(robot.image(2))
    robot.spin(1.5)
    assert not robot.predictions and len(robot.statuses) == seen
    for _ in range(3):
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.wait(lambda: robot.images.get_subscription_count() == 1)
    robot.show(3)
    robot.accuracy(range(10))
    robot.learn(range(10))


def test_without_autostart_it_waits(robot):
    robot.start('classifier', autostart=False)
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.wait(lambda: robot.statuses)


@pytest.mark.parametrize(('parameters', 'words'), [
    ({'manifest': '/nonexistent/manifest.json'}, 'cannot read the manifest'),
    ({'class_names': ['a', 'b']}, 'class_names must have 10 names'),
    ({'initial_adapter': '/nonexistent.npz'}, 'cannot read /nonexistent.npz'),
])
def test_wrong_configuration_says_what_is_wrong(robot, parameters, words):
    process = robot.start('classifier', **parameters)
    robot.wait(lambda: words in process.log.read_text())
    assert process.alive


@pytest.mark.parametrize(('node', 'parameters', 'words'), [
    ('classifier', {'image_reliability': 'sometimes'}, "got 'sometimes'"),
    ('classifier', {'cache_capacity': 0}, 'cache_capacity'),
    ('classifier', {'camera.region': [1, 2, 3]}, 'camera.region must be'),
    ('classifier', {'cameras': ['front', 'front']}, 'cameras must differ'),
    ('classifier', {'cameras': ['front/left']}, 'cameras must be names'),
    ('classifier', {'camera.regions': ['left'], 'camera.region': [1, 1, 5, 5]},
     'without named regions'),
    ('accelerator', {'backend': 'abacus'}, "got 'abacus'"),
])
def test_impossible_parameters_end_the_node_with_one_clear_line(robot, node, parameters, words):
    process = robot.start(node, **parameters)
    robot.wait(lambda: not process.alive)
    assert process.stop() == 1
    lines = process.log.read_text().strip().splitlines()
    assert words in lines[-1]
    assert 'Traceback' not in process.log.read_text()


def value(content: float | str | int) -> ParameterValue:
    if isinstance(content, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=content)
    if isinstance(content, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=content)
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=content)


def set_parameters(robot, **changes: float | str | int):
    parameters = [Parameter(name=name, value=value(content)) for name, content in changes.items()]
    return robot.call(SetParametersAtomically, 'classifier/set_parameters_atomically',
                      parameters=parameters).result


def test_live_parameters(robot):
    robot.start_classifier()
    assert set_parameters(robot, epochs=3, min_corrections=4, max_wait_s=1e6).successful
    for changes, words in (({'epochs': 1001}, 'epochs'), ({'epochs': 'many'}, 'type'),
                           ({'rank': 4}, 'read-only'),
                           ({'rate': 5.0, 'min_corrections': -1}, 'min_corrections')):
        refused = set_parameters(robot, **changes)
        assert not refused.successful
        assert words in refused.reason
    robot.accuracy(range(4))
    for index in range(3):
        robot.correct(index)
    robot.spin(0.5)
    assert robot.status.trainings == 0
    robot.correct(3)
    robot.wait(lambda: robot.status.trainings == 1)


def test_diagnostics_say_why_a_camera_is_silent(robot):
    robot.start_classifier(**{'camera.topic': 'nobody', 'cameras': ['camera', 'second'],
                              'second.topic': 'image_raw'})

    def told(words: str) -> bool:
        return any(words in status.message
                   for array in robot.diagnostics for status in array.status)

    robot.wait(lambda: told('no image on /nobody for'))
    robot.wait(lambda: told('nobody publishes it (images are on /image_raw)'))
    wrong = robot.node.create_publisher(CompressedImage, 'nobody', 5)
    robot.wait(lambda: told('/operator publishes sensor_msgs/msg/CompressedImage there'))
    robot.node.destroy_publisher(wrong)
    robot.show(1)


def test_reliability_follows_the_publishers(robot):
    """One that is reliable, then a second one that is not, then the first alone again."""
    robot.start_classifier(image_reliability='auto')

    def asked(reliability: ReliabilityPolicy) -> bool:
        return [info.qos_profile.reliability
                for info in robot.node.get_subscriptions_info_by_topic('/image_raw')] \
            == [reliability]

    robot.wait(lambda: asked(ReliabilityPolicy.RELIABLE))
    second = robot.node.create_publisher(Image, 'image_raw', qos.images('best_effort', 5))
    robot.wait(lambda: asked(ReliabilityPolicy.BEST_EFFORT))
    robot.node.destroy_publisher(second)
    robot.wait(lambda: asked(ReliabilityPolicy.RELIABLE))
    robot.wait(lambda: robot.images.get_subscription_count() == 1)
    robot.show(1)
