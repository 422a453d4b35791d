from instantft_ros.adaptation.trigger import Trigger, TriggerPolicy

POLICY = TriggerPolicy(min_corrections=3, max_wait_s=2.0, min_interval_s=1.0)


def test_nothing_to_learn_nothing_to_do():
    assert not Trigger().due(POLICY, 100.0)


def test_enough_corrections():
    trigger = Trigger()
    for _ in range(2):
        trigger.corrected(0.0)
    assert not trigger.due(POLICY, 0.1)
    trigger.corrected(0.1)
    assert trigger.due(POLICY, 0.1)


def test_the_first_correction_does_not_wait_for_ever():
    trigger = Trigger()
    trigger.corrected(5.0)
    assert not trigger.due(POLICY, 6.9)
    assert trigger.due(POLICY, 7.0)


def test_starts_are_apart():
    trigger = Trigger()
    trigger.started(10.0)
    for _ in range(3):
        trigger.corrected(10.1)
    assert not trigger.due(POLICY, 10.9)
    assert trigger.due(POLICY, 11.0)


def test_failed_training_gives_its_corrections_back():
    trigger = Trigger()
    for _ in range(3):
        trigger.corrected(0.0)
    taken = trigger.started(0.0)
    assert taken == 3 and trigger.pending == 0
    trigger.corrected(0.5)
    trigger.failed(taken, 1.0)
    assert trigger.pending == 4
    assert trigger.due(POLICY, 1.0)
