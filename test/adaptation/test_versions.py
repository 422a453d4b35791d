import pytest

from instantft_ros.adaptation.versions import VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.features import FeatureLayout


def adapter(seed: int) -> Adapter:
    return Adapter.initial(FeatureLayout((3,), 2), 'ab' * 32, seed=seed)


def test_numbers_grow_and_parents_are_kept():
    history = VersionHistory(adapter(0))
    first = history.adopt(adapter(1), parent=0, cache_version=5)
    second = history.adopt(adapter(2), parent=1, cache_version=9)
    assert (first.number, second.number, second.parent) == (1, 2, 1)
    assert history.current is second


def test_going_back_gets_a_new_number():
    history = VersionHistory(adapter(0))
    history.adopt(adapter(1), 0, 5)
    history.adopt(adapter(2), 1, 9)
    now = history.go_back(1)
    assert (now.number, now.parent, now.cache_version) == (3, 1, 5)
    assert now.digest == adapter(1).digest()
    assert history.go_back(0).digest == adapter(0).digest()


def test_versions_not_held_are_told():
    history = VersionHistory(adapter(0), keep=2)
    for seed in range(1, 5):
        history.adopt(adapter(seed), seed - 1, seed)
    with pytest.raises(AdapterError, match=r'held are \[0, 3, 4\]'):
        history.go_back(1)
    assert history.current.number == 4


def test_numbers_go_on_after_those_of_an_earlier_start():
    history = VersionHistory(adapter(0), next_number=iter([8, 9]).__next__)
    assert history.current.number == 0
    assert history.adopt(adapter(1), 0, 1).number == 8
