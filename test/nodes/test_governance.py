"""Updates under control: what a restart brings back, who decides, and the way back. Over DDS."""

from array import array
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
from std_srvs.srv import SetBool, Trigger

from harness import image_of
from harness import robot as make_robot
from instantft_ros.action import FineTune
from instantft_ros.core.adapter import Adapter
from instantft_ros.msg import CorrectionAck, Status
from instantft_ros.srv import Approve, Import, Rollback
from test_failing_accelerators import fake, good, warned  # noqa: F401


def manifest(folder: Path, number: int) -> dict:
    return json.loads((folder / f'adapter-{number:06d}.json').read_text())


def events(folder: Path, kind: str) -> list[dict]:
    lines = (folder / 'audit.jsonl').read_text().splitlines()
    return [each for each in map(json.loads, lines) if each['kind'] == kind]


def versions(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'instantft_ros', 'versions',
                           *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          check=False)


def test_a_restart_goes_on_where_a_killed_node_was(tmp_path):
    """Each start in a domain of its own, without the ghosts of those killed before."""
    state = tmp_path / 'state'
    with make_robot(tmp_path) as robot:
        first = robot.start_classifier(state_directory=str(state))
        robot.accuracy(range(30))
        robot.learn(range(20))
        robot.wait(lambda: robot.status.corrections_pending == 0)
        assert robot.call(SetBool, 'classifier/freeze', data=True).success
        robot.wait(lambda: robot.status.state == Status.FROZEN)
        digest, number = robot.status.adapter_digest, robot.status.adapter_version
        robot.wait(lambda: (state / 'current.json').exists() and
                   json.loads((state / 'current.json').read_text())['number'] == number)
        for index in range(20, 30):  # these wait for a training
            assert robot.correct(index).accepted
        robot.wait(lambda: robot.status.corrections_pending == 10)
        first.kill()

    with make_robot(tmp_path) as robot:
        second = robot.start_classifier(state_directory=str(state), min_corrections=11,
                                        max_wait_s=1e6)
        status = robot.status
        assert (status.adapter_version, status.adapter_digest) == (number, digest)
        assert f'went on with version {number} and 30 labelled samples' in status.last_event
        assert status.corrections_pending == 10 and status.cache_samples == 30
        second.kill()

    with make_robot(tmp_path) as robot:
        robot.start_classifier(state_directory=str(state))
        robot.wait(lambda: robot.status.trainings == 1)  # of the corrections that were open
        assert robot.status.cache_samples == 30
        assert robot.status.adapter_version == number + 1
    before = manifest(state, number)
    assert before['state'] == 'accepted' and before['accepted_by'] == 'gate'
    assert sum(before['corrections'].values()) == 20
    assert before['figures']['guard_accuracy'] > 0.5


def test_every_step_is_in_the_audit_log_and_the_chain_holds(robot, tmp_path):
    state = tmp_path / 'state'
    process = robot.start_classifier(state_directory=str(state))
    robot.accuracy(range(6))
    robot.learn(range(5))
    robot.correct(5, class_name='nonsense')
    assert robot.call(Rollback, 'classifier/rollback', to_parent=True,
                      operator_id='anna').success
    assert process.stop() == 0
    kinds = [json.loads(line)['kind'] for line in
             (state / 'audit.jsonl').read_text().splitlines()]
    assert kinds[0] == 'start' and kinds[-1] == 'stop'
    assert kinds.count('correction') == 6 and 'swap' in kinds and 'decision' in kinds
    (rollback,) = events(state, 'rollback')
    assert rollback['fields']['by'] == 'anna' if 'fields' in rollback else rollback['by'] == 'anna'
    shown = versions('verify', state)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = (state / 'audit.jsonl').read_bytes()
    (state / 'audit.jsonl').write_bytes(lines.replace(b'nonsense', b'nonsensE', 1))
    assert versions('verify', state).returncode != 0


def test_what_the_gate_refuses_is_kept_with_its_figures(robot, fake, tmp_path):  # noqa: F811
    state = tmp_path / 'state'
    fake(lambda goal: good(goal, b=array('f', (100 * np.random.default_rng(1).normal(
        size=len(goal.b))).astype(np.float32))))
    robot.start_classifier(state_directory=str(state), max_wait_s=1e6)
    robot.accuracy(range(4))
    for index in range(4):
        robot.correct(index)
    robot.wait(lambda: robot.status.trainings_refused >= 1)
    assert robot.call(Trigger, 'classifier/save').success
    found = manifest(state, 1)
    assert found['state'] == 'rejected' and found['reason']
    assert isinstance(found['figures']['loss'], float)
    assert robot.show(5).adapter_version == 0


def waits_for_a_yes(status: Status, corrections: int) -> bool:
    """Tell whether a version waits that knows all corrections, and no further one is coming."""
    return (status.pending_version > 0 and status.corrections_accepted == corrections
            and status.corrections_pending == 0 and status.state == Status.WATCHING)


def test_with_approval_nothing_goes_live_without_a_yes(robot, tmp_path):
    state = tmp_path / 'state'
    robot.start_classifier(state_directory=str(state), approval=True,
                           operators=['test', 'anna'])
    robot.accuracy(range(30))
    for index in range(10):
        assert robot.correct(index).accepted
    robot.wait(lambda: waits_for_a_yes(robot.status, corrections=10))
    pending = robot.status.pending_version
    assert robot.show(20).adapter_version == 0
    refused = robot.call(Approve, 'classifier/approve', accept=True, operator_id='mallory')
    assert not refused.success and "'mallory' is not allowed" in refused.message
    wrong = robot.call(Approve, 'classifier/approve', accept=True, operator_id='anna', version=99)
    assert not wrong.success and str(pending) in wrong.message
    answer = robot.call(Approve, 'classifier/approve', accept=True, operator_id='anna')
    assert answer.success and answer.adapter_version == pending
    assert robot.show(21).adapter_version == pending
    assert robot.call(Trigger, 'classifier/save').success
    assert manifest(state, pending)['accepted_by'] == 'operator:anna'

    assert robot.correct(22).accepted
    robot.wait(lambda: robot.status.pending_version > pending
               and waits_for_a_yes(robot.status, corrections=11))
    down = robot.call(Approve, 'classifier/approve', accept=False, operator_id='anna')
    assert down.success and 'turned down' in down.message
    robot.wait(lambda: robot.status.pending_version == 0)
    assert robot.show(23).adapter_version == pending
    none = robot.call(Approve, 'classifier/approve', accept=True, operator_id='anna')
    assert not none.success and 'no version waits' in none.message


def test_only_operators_on_the_list_may_correct_import_and_go_back(robot):
    robot.start_classifier(operators=['anna'])
    robot.show(1)
    refused = robot.correct(1)
    assert refused.verdict == CorrectionAck.NOT_ALLOWED and "['anna']" in refused.reason
    assert robot.correct(1, operator_id='anna').accepted
    for answer in (robot.call(Rollback, 'classifier/rollback', version=0),
                   robot.call(Import, 'classifier/import', path='/nowhere')):
        assert not answer.success and 'not allowed' in answer.message


def test_a_shadow_is_tried_on_live_corrections_first(robot):
    # all ten are learned before the shadow: none of them is a live one
    robot.start_classifier(shadow_corrections=6, shadow_s=1e6, min_corrections=10, max_wait_s=1e6,
                           drift_threshold=0.0)
    robot.accuracy(range(40))
    for index in range(10):
        robot.correct(index)
    robot.wait(lambda: robot.status.shadow_version > 0)
    shadow = robot.status.shadow_version
    assert robot.show(41).adapter_version == 0
    fresh = 10
    while robot.status.shadow_version == shadow and fresh < 40:
        robot.correct(fresh)
        fresh += 1
        robot.spin(0.05)
    robot.wait(lambda: robot.status.adapter_version == shadow)
    assert 10 + 6 <= fresh <= 10 + 12


def test_the_watchdog_goes_back_when_mistakes_rise(robot, fake):  # noqa: F811
    """A gate that lets everything pass, and an adapter that is wrong in all it says."""
    bad = array('f')

    def answer(goal: FineTune.Goal) -> FineTune.Result:
        return good(goal, b=array('f', (-3 * np.sign(np.random.default_rng(2).normal(
            size=len(goal.b)))).astype(np.float32)))

    fake(answer)
    robot.belt = type(robot.belt)(seed=3, drift=type(robot.belt.drift)(1e9, 1e9), dwell=1)
    robot.start_classifier(loss_tolerance=100.0, accuracy_tolerance=1.0, guard_tolerance=1.0,
                           watchdog_frames=400, min_corrections=1_000_000, max_wait_s=1e6,
                           cache_capacity=600)
    assert not bad
    right = robot.accuracy(range(1, 60))  # the frozen network, trusted
    assert right > 0.7
    assert robot.correct(3).accepted
    assert robot.call(Trigger, 'classifier/retrain').success
    robot.wait(lambda: robot.status.adapter_version == 1)
    index = 100
    while robot.status.rollbacks == 0 and index < 160:
        if robot.show(index).class_id != robot.belt.label(index):
            robot.correct(index)
        index += 1
        robot.spin(0.01)
    robot.wait(lambda: robot.status.rollbacks == 1)
    assert robot.status.adapter_version == 2
    robot.wait(lambda: warned(robot, 'the watchdog went back'))
    assert robot.accuracy(range(200, 230)) > 0.7


def test_the_budget_is_kept(robot):
    robot.start_classifier(trainings_per_hour=1)
    robot.accuracy(range(4))
    robot.learn(range(1))
    robot.correct(2)
    robot.wait(lambda: warned(robot, 'the budget of 1 trainings an hour is used up'))
    assert robot.status.trainings == 1 and robot.status.corrections_pending == 1


def test_two_nodes_do_not_share_a_directory(robot, tmp_path):
    first = robot.start_classifier(state_directory=str(tmp_path))
    second = robot.start('classifier', state_directory=str(tmp_path))
    robot.wait(lambda: 'is in use by process' in second.log.read_text())
    assert f'process {first.pid}' in second.log.read_text() and first.alive


def test_rollback_reaches_every_version_on_the_disk(robot, tmp_path):
    first = robot.start_classifier(state_directory=str(tmp_path))
    robot.accuracy(range(10))
    robot.learn(range(5))
    early, digest = robot.status.adapter_version, robot.status.adapter_digest
    robot.learn(range(5, 10))
    assert first.stop() == 0
    robot.statuses.clear()
    robot.start_classifier(state_directory=str(tmp_path))
    back = robot.call(Rollback, 'classifier/rollback', version=early)
    assert back.success, back.message
    robot.wait(lambda: robot.status.adapter_digest == digest)
    assert robot.call(Trigger, 'classifier/save').success
    assert manifest(tmp_path, back.adapter_version)['parent'] == early
    missing = robot.call(Rollback, 'classifier/rollback', version=99)
    assert not missing.success and 'version 99 is not there' in missing.message


def test_an_adapter_of_another_robot_comes_through_the_same_gate(robot, tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there'
    first = robot.start_classifier(state_directory=str(there))
    robot.accuracy(range(60))
    robot.learn(range(60))
    number = robot.status.adapter_version
    after = robot.accuracy(range(300, 330))
    assert first.stop() == 0
    exported = tmp_path / 'exported.zip'
    shown = versions('export', there, number, exported)
    assert shown.returncode == 0, shown.stderr
    robot.statuses.clear()
    robot.start_classifier(state_directory=str(here))
    before = robot.accuracy(range(300, 330))
    answer = robot.call(Import, 'classifier/import', path=str(exported))
    assert answer.success, answer.message
    assert robot.accuracy(range(300, 330)) == after > before
    good_one = Adapter.from_bytes((there / f'adapter-{number:06d}.npz').read_bytes())
    foreign = tmp_path / 'foreign.npz'
    foreign.write_bytes(Adapter(good_one.layout, good_one.a, good_one.b, 'ab' * 32).to_bytes())
    answer = robot.call(Import, 'classifier/import', path=str(foreign))
    assert not answer.success and 'backbone' in answer.message
    garbage = tmp_path / 'garbage.npz'
    rng = np.random.default_rng(1)
    garbage.write_bytes(Adapter(good_one.layout, good_one.a, rng.normal(
        0, 50, good_one.b.shape).astype(np.float32), good_one.backbone).to_bytes())
    answer = robot.call(Import, 'classifier/import', path=str(garbage))
    assert not answer.success and 'guard samples' in answer.message


def test_wrong_labels_are_suspect_and_set_aside_when_they_are_many(robot):
    robot.belt = type(robot.belt)(seed=3, drift=type(robot.belt.drift)(1e9, 1e9), dwell=1)
    robot.start_classifier(min_corrections=1_000_000, max_wait_s=1e6)
    robot.accuracy(range(160))
    wrong = set(range(0, 160, 4))
    for index in range(160):
        label = robot.belt.label(index)
        said = (label + 1 + index % 9) % 10 if index in wrong else label
        assert robot.correct(index, class_id=said).accepted
    for _ in range(2):  # looked at in parts
        done = robot.status.trainings + robot.status.trainings_refused
        assert robot.call(Trigger, 'classifier/retrain').success
        robot.wait(lambda done=done: robot.status.trainings + robot.status.trainings_refused
                   == done + 1)
    robot.wait(lambda: robot.status.suspects > 16)
    assert robot.status.quarantine
    named = robot.call(Trigger, 'classifier/suspects').message.splitlines()
    stamps = {int(line.split()[1]) // 10**9 for line in named if line.startswith('camera')}
    assert len(stamps & wrong) > 0.5 * len(stamps), 'a quarter of all are wrong'


def test_a_drift_is_noticed_without_labels(robot):
    robot.start_classifier(min_corrections=1000, max_wait_s=1e6)
    grey = robot.belt.frame(5)

    def show(count: int, first: int, pixels) -> None:
        for index in range(first, first + count):
            robot.images.publish(image_of(pixels(index), index))
            robot.wait(lambda index=index: index in robot.predictions)

    rng = np.random.default_rng(3)
    show(900, 0, lambda index: robot.belt.frame(index))
    robot.wait(lambda: robot.status.images_received == 900)
    assert robot.status.drift_alarms == 0
    noise = rng.integers(0, 255, grey.shape, np.uint8)
    show(200, 900, lambda index: noise)
    robot.wait(lambda: robot.status.drift_alarms >= 1)
    assert any('has drifted' in status.last_event for status in robot.statuses)
    robot.wait(lambda: warned(robot, 'has drifted'))
    # and the next correction is trained at once, however few they are
    assert robot.correct(1000).accepted
    robot.wait(lambda: robot.status.trainings + robot.status.trainings_refused >= 1)
