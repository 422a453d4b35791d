"""Work waits for the image that is expected, and never for long."""

from instantft_ros.nodes.slack import PATIENCE_S, QUIET_S, Slack


def camera_at_30_hz(**settings) -> Slack:
    slack = Slack(**settings)
    for number in range(3):
        slack.image_done('camera', number / 30)
    return slack  # the next image is expected at 0.1 s


def test_without_a_rhythm_work_is_done_at_once():
    done = []
    slack = Slack()
    slack.image_done('camera', 0.0)
    slack.do(lambda: done.append(1), 0.01)
    assert done == [1]


def test_work_is_done_at_once_between_two_images():
    done = []
    camera_at_30_hz().do(lambda: done.append(1), 0.08)
    assert done == [1]


def test_just_before_an_image_work_waits_until_after_it():
    done = []
    slack = camera_at_30_hz()
    slack.do(lambda: done.append(1), 0.1 - QUIET_S / 2)
    slack.do(lambda: done.append(2), 0.1 - QUIET_S / 3)
    slack.look(0.1 - QUIET_S / 4)
    assert done == [] and not slack.empty
    slack.image_done('camera', 0.1)
    assert done == [1]      # one piece an image
    slack.look(0.11)
    assert done == [1, 2] and slack.empty


def test_what_is_left_for_later_runs_nothing_in_the_midst_of_its_caller():
    done, slack = [], camera_at_30_hz()
    slack.do(lambda: done.append(1), 0.1 - QUIET_S / 2)
    slack.later(lambda: done.append(2), 0.08)
    assert done == []
    slack.look(0.08)
    assert done == [1, 2]


def test_long_work_keeps_further_away_from_an_image_and_that_is_forgotten():
    done, clock = [], iter(range(10_000))
    slack = camera_at_30_hz(clock_s=lambda: next(clock) * 0.0125)  # so long each piece takes
    slack.do(lambda: done.append(1), 0.08)
    assert done == [1]
    slack.do(lambda: done.append(2), 0.09)
    assert done == [1]
    slack.image_done('camera', 0.1)
    assert done == [1, 2]
    slack._clock_s = lambda: 0.0
    for _ in range(40):
        slack.do(lambda: done.append(3), 0.11)
    done.clear()
    slack.do(lambda: done.append(4), 2 / 15 - 0.01)
    assert done == [4]


def test_one_late_image_misleads_nobody():
    done, slack = [], Slack()
    for arrived_s in (0.0, 0.1, 0.2, 0.36, 0.4):
        slack.image_done('camera', arrived_s)
    slack.do(lambda: done.append(1), 0.44)
    assert done == [1]
    slack.do(lambda: done.append(2), 0.5 - QUIET_S / 2)
    assert done == [1]


def test_an_image_that_does_not_come_is_not_waited_for():
    done = []
    slack = camera_at_30_hz()
    slack.do(lambda: done.append(1), 0.099)
    slack.look(0.1 + QUIET_S)
    assert done == [1]


def test_between_many_cameras_work_is_done_in_the_end():
    done = []
    slack = Slack()
    for number in range(400):
        slack.image_done(f'camera{number % 20}', number / 600)  # an image every 1.7 ms
    start_s = 400 / 600
    slack.do(lambda: done.append(1), start_s)
    slack.look(start_s + PATIENCE_S / 2)
    assert done == []
    slack.look(start_s + PATIENCE_S)
    assert done == [1]


def test_work_that_waits_is_not_done_twice():
    done = []
    slack = camera_at_30_hz()

    def work() -> None:
        done.append(1)

    slack.do(work, 0.1 - QUIET_S / 2)
    slack.do(work, 0.1 - QUIET_S / 3)
    slack.image_done('camera', 0.1)
    slack.look(0.11)
    assert done == [1]
