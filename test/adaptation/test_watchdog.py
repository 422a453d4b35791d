import numpy as np

from instantft_ros.adaptation.watchdog import Watchdog, WatchdogPolicy

POLICY = WatchdogPolicy(frames=300)


def run(rng: np.random.Generator, watchdog: Watchdog, version: int, frames: int, rate: float,
        trusted_right: float) -> str:
    """Show frames of which a share is corrected as wrong; gives the watchdog's last word."""
    for _ in range(frames):
        watchdog.shown(POLICY, version)
        if rng.random() < rate:
            watchdog.mistaken(1, int(rng.random() < trusted_right))
            if (reason := watchdog.worse()):
                return reason
    return ''


def after_a_swap(seed: int, before: float, after: float, trusted_right: float) -> str:
    rng, watchdog = np.random.default_rng(seed), Watchdog(trusted=3)
    run(rng, watchdog, 3, 600, before, 0.0)
    return run(rng, watchdog, 4, 299, after, trusted_right)


def test_a_bad_swap_is_found_and_named():
    reasons = [after_a_swap(seed, 0.1, 0.6, 0.8) for seed in range(40)]
    assert all(reasons)
    assert 'before the swap' in reasons[0] and 'version 3 would have been right' in reasons[0]


def test_a_good_swap_hardly_ever_goes_back():
    """The trusted adapter is right on some of the mistakes, as any other would be."""
    assert sum(bool(after_a_swap(seed, 0.2, 0.2, 0.4)) for seed in range(200)) <= 10
    assert not any(after_a_swap(seed, 0.4, 0.2, 0.4) for seed in range(200))


def test_a_new_drift_is_not_blamed_on_the_swap():
    """Mistakes rise, but the adapter before would have made them too."""
    assert sum(bool(after_a_swap(seed, 0.1, 0.7, 0.1)) for seed in range(100)) <= 5


def test_a_few_mistakes_say_nothing():
    watchdog = Watchdog()
    for _ in range(100):
        watchdog.shown(POLICY, 0)
    watchdog.shown(POLICY, 1)
    watchdog.mistaken(4, 4)
    assert watchdog.worse() == ''
    watchdog.mistaken(1, 1)
    assert watchdog.worse()


def test_after_enough_frames_an_adapter_is_trusted():
    watchdog = Watchdog()
    for _ in range(50):
        watchdog.shown(POLICY, 0)
    for _ in range(299):
        watchdog.shown(POLICY, 1)
    assert watchdog.trusted == 0
    watchdog.shown(POLICY, 1)
    assert watchdog.trusted == 1
    watchdog.mistaken(20, 20)
    assert watchdog.worse() == '', 'there is nothing to go back to'


def test_zero_frames_is_no_watchdog():
    watchdog = Watchdog()
    for version in (0, 1):
        for _ in range(50):
            watchdog.shown(WatchdogPolicy(0), version)
    watchdog.mistaken(40, 40)
    assert watchdog.worse() == ''
