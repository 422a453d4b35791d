"""A restart brings back the labels that stood, whatever happened to the journal."""

from collections.abc import Callable
import dataclasses
import errno
import os
import resource
import threading

from hypothesis import given, HealthCheck, settings, strategies
import numpy as np
import pytest

from instantft_ros.core.errors import CacheError, StateError
from instantft_ros.core.features import FeatureLayout, FeatureRecord
from instantft_ros.core.forward_cache import ForwardCache, Outcome
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance import cache_snapshot, cache_store
from instantft_ros.governance.cache_journal import inspect
from instantft_ros.governance.cache_records import CorrectionRecord
from instantft_ros.governance.cache_store import CacheStore

LAYOUT, BACKBONE, CAPACITY = FeatureLayout((6, 8), 3), 'ab' * 32, 6


def features(stamp: int) -> FeatureRecord:
    rng = np.random.default_rng(abs(stamp))
    return FeatureRecord(rng.integers(0, 256, 7, np.uint8), rng.random(2, np.float32),
                         rng.random(3, np.float32), 0.0)


def parts(record: FeatureRecord) -> tuple[np.ndarray, ...]:
    """What of a record is stored; its norm follows from that."""
    return record.codes, record.scales, record.logits


def sample(stamp: int, label: int = 1, issued: int = 0, camera: str = 'belt') -> CorrectionRecord:
    return CorrectionRecord(FrameId(camera, stamp), label, issued or stamp,
                            f'g{stamp} {issued}', features(stamp))


def opened(folder) -> CacheStore:
    return CacheStore(folder / 'cache.journal', LAYOUT, BACKBONE, CAPACITY)


def content(store: CacheStore) -> list[tuple]:
    found = []
    store.replay(lambda record: found.append((
        record.frame, record.label, record.issued_ns, record.group,
        None if record.features is None else b''.join(
            each.tobytes() for each in parts(record.features)))))
    return found


class Node:
    """A forward cache with its journal, wired as the node wires them."""

    def __init__(self, folder) -> None:
        # room for every frame of the test: what waits for room is not in the journal
        self.cache, self.store = ForwardCache(LAYOUT, 12, 0.3), opened(folder)
        self.store.replay(self.restore)

    def restore(self, record: CorrectionRecord) -> None:
        if record.label is None:
            self.cache.retract(record.frame, record.issued_ns)
        else:
            self.cache.add(record.frame, record.features, record.label, record.issued_ns,
                           record.group)

    def correct(self, record: CorrectionRecord) -> None:
        if record.label is None:
            outcome = self.cache.retract(record.frame, record.issued_ns)
        else:
            outcome = self.cache.add(record.frame, record.features, record.label,
                                     record.issued_ns, record.group)
        if outcome is not Outcome.ADDED:
            record = dataclasses.replace(record, features=None)
        if outcome not in (Outcome.SUPERSEDED, Outcome.NOT_KEPT):
            self.store.append([record])

    def compact(self) -> None:
        plan = self.store.plan(self.cache.labelled('belt', 0, 10**9))
        if plan is not None:
            self.store.compact(plan)

    def state(self) -> list:
        """Give what the cache holds, by the names of the frames."""
        frames = self.cache.labelled('belt', 0, 10**9)
        entries = {frame: self.cache._entries[frame] for frame in frames}
        return sorted((frame, entry.label, entry.issued_ns, self.cache._holdout[entry.slot],
                       self.cache.samples(np.array([entry.slot]))[0].tobytes())
                      for frame, entry in entries.items())


@pytest.fixture
def at_any_size(monkeypatch) -> None:
    """Let every plan be carried out, however small the journal is."""
    monkeypatch.setattr(cache_store, 'GROWTH', 0)
    monkeypatch.setattr(CacheStore, 'due', True)


STEPS = strategies.lists(strategies.one_of(
    strategies.just('compact'), strategies.just('restart'), strategies.just('sync'),
    strategies.tuples(strategies.integers(1, 12), strategies.integers(-1, 2),
                      strategies.integers(1, 60))), min_size=10, max_size=80)


@given(STEPS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_restart_restores_the_cache(tmp_path_factory, at_any_size, steps):
    folder = tmp_path_factory.mktemp('state')
    node = Node(folder)
    for step in steps:
        if step == 'compact':
            node.compact()
        elif step == 'restart':
            node.store.close()
            before, node = node.state(), Node(folder)
            assert node.state() == before and not node.store.notices
        elif step == 'sync':
            node.store.sync()
        else:
            stamp, label, issued = step
            node.correct(sample(stamp, label, issued) if label >= 0 else CorrectionRecord(
                FrameId('belt', stamp), None, issued))
    before = node.state()
    node.store.close()
    assert Node(folder).state() == before


def test_retractions_survive_snapshots_and_restarts(tmp_path, at_any_size):
    node = Node(tmp_path)
    node.correct(sample(5, issued=50))
    node.correct(CorrectionRecord(FrameId('belt', 5), None, 60))
    node.compact()
    node.store.close()
    node = Node(tmp_path)
    node.correct(sample(5, issued=55))  # issued before the retraction
    assert node.state() == []


def test_as_many_retractions_are_kept_as_samples(tmp_path, at_any_size):
    store = opened(tmp_path)
    for stamp in (5, 1, 9, 3, 7, 2, 8, 4, 6):
        store.append([CorrectionRecord(FrameId('belt', stamp), None, 10 * stamp)])
    assert store.compact(store.plan([]))
    assert sorted(each[2] for each in content(store)) == [40, 50, 60, 70, 80, 90]


def test_every_field_comes_back(tmp_path):
    store = opened(tmp_path)
    records = [sample(1, camera='büro \ud800'), sample(-2), CorrectionRecord(
        FrameId('', 2**62), None, -5, None), sample(3, label=2, issued=2**62)]
    store.append(records)
    store.append([CorrectionRecord(FrameId('belt', 3), 0, 2**62 + 1, 'later')])
    store.close()
    found = content(opened(tmp_path))
    assert [each[:4] for each in found[:4]] == [
        (each.frame, each.label, each.issued_ns, each.group) for each in records]
    assert found[4] == (FrameId('belt', 3), 0, 2**62 + 1, 'later', found[3][4])
    assert found[0][4] == b''.join(each.tobytes() for each in parts(features(1)))


def test_open_corrections_are_those_no_training_took_up(tmp_path):
    store = opened(tmp_path)
    store.append([sample(1), sample(2)])
    store.append([sample(3)])
    store.append([sample(3, 2)], opens=False)
    assert store.open_corrections == 2
    store.taken_up(1)
    store.append([sample(4)])
    store.close()
    store = opened(tmp_path)
    assert store.open_corrections == 2
    store.append([sample(5)])
    store.taken_up(9)
    store.close()
    assert opened(tmp_path).open_corrections == 0


def test_a_record_that_does_not_fit_is_refused(tmp_path):
    store = opened(tmp_path)
    for record, words in ((sample(1, label=1 << 20), 'label must be in'),
                          (sample(1, camera='x' * 5000), 'names may have 4096 bytes, got 5000'),
                          (dataclasses.replace(sample(1), features=FeatureRecord(
                              *[np.zeros(7, np.uint8)] * 3, 0.0)), 'codes, scales and logits')):
        with pytest.raises(CacheError, match=words):
            store.append([record])
    assert content(store) == [] and store.open_corrections == 0


def written(tmp_path, count: int = 3) -> tuple[bytes, list, list[int]]:
    """Write a journal; give it, its content, and its size after each record."""
    store, ends = opened(tmp_path), []
    for stamp in range(1, count + 1):
        store.append([sample(stamp)])
        ends.append((tmp_path / 'cache.journal').stat().st_size)
    store.close()
    return (tmp_path / 'cache.journal').read_bytes(), content(opened(tmp_path)), ends


def test_a_journal_torn_at_any_byte_keeps_what_was_whole(tmp_path):
    data, everything, ends = written(tmp_path)
    path = tmp_path / 'cache.journal'
    for length in range(len(data)):
        path.write_bytes(data[:length])
        store = opened(tmp_path)
        whole = sum(length >= end for end in ends)
        assert content(store) == everything[:whole]
        assert bool(store.notices) == (length not in (0, *ends) and
                                       length != len(store._format.header()))
        store.append([sample(9)])
        store.close()
        store = opened(tmp_path)
        assert [each[0].stamp_ns for each in content(store)] == [*range(1, whole + 1), 9]
        assert not store.notices
    assert [each.name for each in tmp_path.iterdir()] == ['cache.journal']


def test_a_changed_byte_costs_one_record(tmp_path):
    data, everything, ends = written(tmp_path)
    path = tmp_path / 'cache.journal'
    start = ends[0] - (ends[1] - ends[0])
    for position in range(start, len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        store = opened(tmp_path)
        hit = sum(position >= end for end in ends)
        assert content(store) == everything[:hit] + everything[hit + 1:]
        assert ('left out' if hit == 2 else 'passed over') in store.notices[0]


def test_a_changed_header_sets_the_journal_aside(tmp_path):
    data, _, ends = written(tmp_path)
    path = tmp_path / 'cache.journal'
    for position in range(ends[0] - (ends[1] - ends[0])):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        store = opened(tmp_path)
        assert content(store) == [] and 'was set aside as' in store.notices[0]
        store.append([sample(9)])
        store.close()
        assert len(content(opened(tmp_path))) == 1


def test_a_journal_can_be_inspected_without_a_change(tmp_path):
    data, everything, _ = written(tmp_path)
    path = tmp_path / 'cache.journal'
    path.write_bytes(data + b'torn')
    form, found = inspect(path)
    assert (form.layout, form.backbone) == (LAYOUT, BACKBONE)
    assert len(found.places) == len(everything) and '4 bytes behind' in found.notices[0]
    assert path.read_bytes() == data + b'torn'
    for junk in (b'', b'junk', data[:40], data.replace(b'"format": 1', b'"format": 2')):
        path.write_bytes(junk)
        with pytest.raises(CacheError, match=r'it is empty|does not begin with a header'):
            inspect(path)


@pytest.mark.parametrize(('layout', 'backbone', 'words'), [
    (LAYOUT, 'cd' * 32, "wanted is .*'cdcd"), (FeatureLayout((6, 8), 4), BACKBONE, "'classes': 4"),
    (FeatureLayout((6, 9), 3), BACKBONE, 'wanted is .*6, 9')])
def test_the_journal_of_another_network_is_set_aside(tmp_path, layout, backbone, words):
    data, _, _ = written(tmp_path)
    store = CacheStore(tmp_path / 'cache.journal', layout, backbone, CAPACITY)
    assert content(store) == []
    (notice,) = store.notices
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(notice)
    (aside,) = tmp_path.glob('cache.journal.aside-*')
    assert aside.read_bytes() == data and aside.name in notice


@pytest.mark.parametrize('junk', [b'junk', bytes(10_000), b'\xf1IFT' * 4000, b'\xf1IFT\xff' * 99])
def test_files_that_are_something_else(tmp_path, junk):
    (tmp_path / 'cache.journal').write_bytes(junk)
    assert content(opened(tmp_path)) == []
    data, everything, _ = written(tmp_path)
    (tmp_path / 'cache.journal').write_bytes(data + junk)
    store = opened(tmp_path)
    assert content(store) == everything and 'left out' in store.notices[0]


def test_an_absurdly_large_file_is_set_aside_unread(tmp_path):
    written(tmp_path)
    os.truncate(tmp_path / 'cache.journal', 1 << 40)
    store = opened(tmp_path)
    assert 'at most' in store.notices[0] and content(store) == []


def fill(store: CacheStore, count: int) -> None:
    for stamp in range(count):
        store.append([sample(stamp)])


def test_the_journal_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_store, 'MIN_BYTES', 2000)
    node = Node(tmp_path)
    largest = 0
    for stamp in range(1, 600):
        node.correct(sample(stamp, stamp % 3))
        if node.store.due:
            plan = node.store.plan(node.cache.labelled('belt', 0, 10**9))
            assert plan is None or node.store.compact(plan)
        largest = max(largest, (tmp_path / 'cache.journal').stat().st_size)
    assert largest < 5 * max(2000, CAPACITY * node.store._format.typical_bytes)
    before = node.state()
    node.store.close()
    assert Node(tmp_path).state() == before
    assert not list(tmp_path.glob('.*'))


def test_without_snapshots_a_bound_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_store, 'MIN_BYTES', 500)
    store = opened(tmp_path)
    with pytest.raises(StateError, match='a snapshot is overdue'):
        fill(store, 400)
    assert (tmp_path / 'cache.journal').stat().st_size <= store.max_bytes
    plan = store.plan([FrameId('belt', 1)])
    assert store.compact(plan)
    store.sync()
    store.close()
    assert len(content(opened(tmp_path))) == 2  # with the one that waited


def test_what_is_appended_during_a_snapshot_is_in_it(tmp_path, at_any_size, monkeypatch):
    store = opened(tmp_path)
    fill(store, 20)
    plan = store.plan([FrameId('belt', 3), FrameId('belt', 4)])
    store.append([sample(30)])
    flush = cache_snapshot.Snapshot.sync

    def sync(snapshot) -> None:
        flush(snapshot)
        store.append([CorrectionRecord(FrameId('belt', 4), 0, 99)])
        store.append([CorrectionRecord(FrameId('belt', 30), None, 99)])
        store.append([sample(31)])

    with monkeypatch.context() as patch:
        patch.setattr(cache_snapshot.Snapshot, 'sync', sync)
        assert store.compact(plan)
    store.append([CorrectionRecord(FrameId('belt', 31), 2, 100)])
    wanted = [(3, 1), (4, 1), (30, 1), (4, 0), (30, None), (31, 1), (31, 2)]
    assert [(each[0].stamp_ns, each[1]) for each in content(opened(tmp_path))] == wanted
    assert store.compact(store.plan([FrameId('belt', 4), FrameId('belt', 31)])) is True
    found = content(opened(tmp_path))
    assert [(each[0].stamp_ns, each[1]) for each in found] == [(4, 0), (31, 2), (30, None)]
    for each in found[:2]:
        assert each[4] == b''.join(part.tobytes() for part in parts(
            features(each[0].stamp_ns)))
    assert opened(tmp_path).open_corrections == store.open_corrections


def test_clearing_forgets_also_during_a_snapshot(tmp_path, at_any_size):
    store = opened(tmp_path)
    fill(store, 20)
    plan = store.plan([FrameId('belt', 3)])
    store.clear()
    with pytest.raises(StateError, match='No such file'):
        store.compact(plan)
    store.append([sample(30)])
    assert store.compact(plan) is False
    store.close()
    store = opened(tmp_path)
    assert [each[0].stamp_ns for each in content(store)] == [30] and store.open_corrections == 1


def test_a_snapshot_that_fails_leaves_the_journal(tmp_path, at_any_size, in_child):
    store = opened(tmp_path)
    fill(store, 50)
    plan = store.plan([FrameId('belt', i) for i in range(10)])
    before = (tmp_path / 'cache.journal').read_bytes()

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        with pytest.raises(StateError, match=r'no snapshot of .*File too large'):
            store.compact(plan)

    in_child(child)
    assert (tmp_path / 'cache.journal').read_bytes() == before
    assert not list(tmp_path.glob('.*'))


def test_a_full_disk_is_told_once_and_corrections_wait_in_memory(tmp_path, monkeypatch):
    store = opened(tmp_path)
    store.append([sample(1)])
    before = (tmp_path / 'cache.journal').read_bytes()

    def full(handle: int, data) -> int:
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', full)
        with pytest.raises(StateError, match='No space left'):
            store.append([sample(2)])
        fill(store, 5)
        store.sync()
        assert (tmp_path / 'cache.journal').read_bytes() == before and store.lost == 0
    store.sync()
    store.append([sample(9)])
    stamps = [each[0].stamp_ns for each in content(opened(tmp_path))]
    assert stamps == [1, 2, 0, 1, 2, 3, 4, 9] and store.lost == 0


def test_what_memory_does_not_hold_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_store, 'MAX_WAITING_BYTES', 500)
    store = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'full')))
        with pytest.raises(StateError):
            fill(store, 1)
        fill(store, 50)
    store.sync()
    kept = len(content(opened(tmp_path)))
    assert 0 < kept < 10 and store.lost == 51 - kept


def test_a_limit_on_the_size_of_files_leaves_whole_records(tmp_path, in_child):
    def child() -> None:
        store = opened(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1001, resource.RLIM_INFINITY))
        with pytest.raises(StateError, match='File too large'):
            fill(store, 50)

    in_child(child)
    store = opened(tmp_path)
    assert not store.notices and 5 < len(content(store)) < 20


def test_a_folder_that_cannot_be_written_to(open_folder, tmp_path, in_child):
    data, everything, _ = written(tmp_path)
    (open_folder / 'cache.journal').write_bytes(data)
    open_folder.chmod(0o555)

    def child() -> None:
        store = opened(open_folder)
        assert content(store) == everything
        with pytest.raises(StateError, match='Permission denied'):
            store.append([sample(5)])
        store.append([sample(6)])
        store.sync()
        with pytest.raises(StateError, match='a restart will bring it back'):
            store.clear()
        other = CacheStore(open_folder / 'cache.journal', LAYOUT, 'cd' * 32, CAPACITY)
        assert 'cannot be set aside (Permission denied)' in other.notices[0]
        with pytest.raises(StateError, match='cannot be set aside'):
            other.append([sample(5)])

    in_child(child, unprivileged=True)
    assert (open_folder / 'cache.journal').read_bytes() == data


def test_appending_flushes_nothing_and_sync_once(tmp_path, monkeypatch):
    flushed: list[int] = []
    store = opened(tmp_path)
    monkeypatch.setattr(os, 'fsync', flushed.append)
    fill(store, 20)
    assert not flushed
    store.sync()
    store.sync()
    assert len(flushed) == 1


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_appending_does_not_wait_for_the_disk(tmp_path, at_any_size, monkeypatch):
    store, waits, go_on = opened(tmp_path), threading.Event(), threading.Event()
    fill(store, 50)
    plan = store.plan([FrameId('belt', 1)])

    def fsync(handle: int) -> None:
        waits.set()
        assert go_on.wait(20)

    monkeypatch.setattr(os, 'fsync', fsync)
    for work in (store.sync, lambda: store.compact(plan)):
        waits.clear()
        go_on.clear()
        thread = in_thread(work)
        assert waits.wait(20)
        store.append([sample(60)])  # would wait for ever
        go_on.set()
        thread.join(20)
        assert not thread.is_alive()
    assert [each[0].stamp_ns for each in content(opened(tmp_path))] == [1, 60, 60]
