"""A version is there whole or not at all, and a damaged one is never loaded."""

import dataclasses
import errno
import json
import math
import os
import resource

import numpy as np
import pytest

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import DamagedVersionError, StateError, VersionError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.governance.version_diff import diff, map_distance
from instantft_ros.governance.version_manifest import VersionManifest
from instantft_ros.governance.version_pruning import DAY_NS, prune
from instantft_ros.governance.version_store import VersionStore


def start(versions):
    return versions.store.latest_accepted(versions.layout, versions.backbone)


def remove(versions, number: int) -> None:
    for path in versions.folder.glob(f'adapter-{number:06d}.*'):
        path.unlink()


def test_what_was_saved_comes_back(versions):
    saved = versions.save(7, parent=3)
    manifest, adapter = VersionStore(versions.folder, versions.clock).load(7)
    assert adapter.digest() == versions.adapter(7).digest() == manifest.digest
    assert repr(manifest) == repr(saved)  # NaN is not equal to itself
    assert (manifest.corrections, manifest.figures.loss) == ({'a': 7, 'b': 2}, 0.0625)
    assert math.isnan(manifest.figures.guard_accuracy) and manifest.time.startswith('2023-11-14T')
    assert Adapter.load(versions.folder / 'adapter-000007.npz').digest() == manifest.digest


def test_numbers_are_never_given_twice(versions):
    assert versions.store.next_number() == 1
    versions.chain(4)
    versions.save(9, 4, 'rejected')
    again = VersionStore(versions.folder, versions.clock)
    assert [again.next_number(), again.next_number()] == [10, 11]
    remove(versions, 9)
    assert VersionStore(versions.folder, versions.clock).next_number() == 5
    remove(versions, 4)
    assert VersionStore(versions.folder, versions.clock).next_number() == 5  # of current.json
    with pytest.raises(VersionError, match='is there already'):
        versions.save(3)


def test_a_start_takes_the_version_in_use(versions):
    assert start(versions).manifest is None and start(versions).notices == ()
    versions.chain(3)
    versions.save(4, 3, 'pending')
    versions.save(5, 3)
    assert start(versions).manifest.number == 3
    versions.store.set_current(5)
    found = start(versions)
    assert (found.manifest.number, found.notices) == (5, ())
    assert found.adapter.digest() == versions.adapter(5).digest()


def test_only_an_accepted_version_can_be_in_use(versions):
    versions.save(1, state='pending')
    with pytest.raises(VersionError, match='must be accepted, it is pending'):
        versions.store.set_current(1)
    versions.store.decide(1, 'accepted', 'operator:Ann')
    versions.store.set_current(1)
    assert versions.store.manifest(1).accepted_by == 'operator:Ann'
    with pytest.raises(VersionError, match='accepted_by must be'):
        versions.store.decide(1, 'accepted')
    with pytest.raises(VersionError, match='version 2 is not there'):
        versions.store.set_current(2)


def test_a_damaged_version_is_passed_over_and_told(versions):
    versions.chain(3)
    versions.save(4, 3, 'rolled back')
    versions.save(5, 3, 'rejected')
    data = versions.folder / 'adapter-000003.npz'
    data.write_bytes(data.read_bytes()[:-1] + b'x')
    found = start(versions)
    assert found.manifest.number == 2
    assert 'version 3 cannot be used: adapter-000003.npz: must have the SHA-256' in \
        found.notices[0]
    assert found.notices[1:] == ('version 2 is the newest accepted one that can be used',)
    (versions.folder / 'adapter-000002.json').write_text('{')
    assert start(versions).manifest.number == 1
    (versions.folder / 'current.json').write_text('null')
    found = start(versions)
    assert found.manifest.number == 1 and 'version in use is not known' in found.notices[0]


def test_another_network_is_passed_over_and_told(versions):
    versions.chain(1)
    found = versions.store.latest_accepted(versions.layout, 'cd' * 32)
    assert found.adapter is None and len(found.notices) == 2
    assert 'made for backbone abab' in found.notices[0]
    other = FeatureLayout((5, 7), 4)
    assert 'wanted' in versions.store.latest_accepted(other, versions.backbone).notices[0]


def test_every_torn_manifest_and_every_changed_byte_is_damage(versions):
    versions.save(1)
    path = versions.folder / 'adapter-000001.json'
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedVersionError, match=r'adapter-000001\.json: '):
            versions.store.load(1)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(DamagedVersionError):
            versions.store.load(1)
    path.write_bytes(data)
    versions.store.load(1)


def test_every_torn_adapter_and_every_changed_byte_is_damage(versions):
    versions.save(1)
    path = versions.folder / 'adapter-000001.npz'
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position])
        with pytest.raises(DamagedVersionError, match=r'must have \d+ bytes, has'):
            versions.store.load(1)
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(DamagedVersionError, match='SHA-256'):
            versions.store.load(1)


def test_every_torn_current_is_told(versions):
    versions.chain(2)
    path = versions.folder / 'current.json'
    data = path.read_bytes().rstrip()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = start(versions)
        assert found.manifest.number == 2 and found.notices
    path.write_bytes(data.replace(b'"digest": "', b'"digest": "0'))
    assert 'must have the digest' in start(versions).notices[0]


@pytest.mark.parametrize('content', [
    b'[]', b'{}', b'{"format": 2}', b'{"format": true}', b'[' * 100_000, b'\xff', b'1' * (2 << 20),
    b'null', b'"x"'])
def test_manifests_that_are_something_else(versions, content):
    with pytest.raises(DamagedVersionError):
        VersionManifest.from_bytes(content)


@pytest.mark.parametrize(('key', 'value'), [
    ('number', -1), ('number', 1.0), ('number', True), ('number', 10**10), ('state', 'fine'),
    ('accepted_by', 'me'), ('corrections', {'a': '1'}), ('corrections', []), ('figures', {}),
    ('digest', 'ab'), ('class_names', 'abc'), ('class_names', [1]), ('train_ms', '1'),
    ('schedule', {'a': [1]}), ('time', 'today'), ('reason', 5), ('number', None)])
def test_manifests_with_a_wrong_value_name_its_key(versions, key, value):
    content = json.loads(versions.save(1).to_bytes())
    with pytest.raises(DamagedVersionError, match=key.replace('time', 'a time')):
        VersionManifest.from_bytes(json.dumps(content | {key: value}).encode())
    del content[key]
    with pytest.raises(DamagedVersionError, match='the keys must be'):
        VersionManifest.from_bytes(json.dumps(content).encode())


def test_adapter_files_without_a_manifest_stay_readable(versions):
    versions.chain(1)
    (versions.folder / 'adapter-000012.npz').write_bytes(versions.adapter(12).to_bytes())
    listed = [(each.number, each.problem) for each in versions.store.entries()]
    assert listed == [(0, ''), (1, ''), (12, 'no manifest')]
    assert start(versions).manifest.number == 1
    with pytest.raises(VersionError, match='version 12 has no manifest'):
        versions.store.load(12)
    assert VersionStore(versions.folder, versions.clock).next_number() == 13


def test_a_version_of_another_number_is_damaged(versions):
    versions.save(1)
    for end in ('npz', 'json'):
        data = (versions.folder / f'adapter-000001.{end}').read_bytes()
        (versions.folder / f'adapter-000002.{end}').write_bytes(data)
    (listed,) = [each for each in versions.store.entries() if each.number == 2]
    assert 'number must be 2, got 1' in listed.problem


def test_a_manifest_for_other_weights_is_damaged(versions):
    saved = versions.save(1)
    for key in ('digest', 'backbone'):
        forged = dataclasses.replace(saved, **{key: 64 * '0'})
        (versions.folder / 'adapter-000001.json').write_bytes(forged.to_bytes())
        with pytest.raises(DamagedVersionError, match='must have the digest'):
            versions.store.load(1)


def test_listing_tells_the_damage(versions):
    versions.chain(2)
    (versions.folder / 'adapter-000001.npz').unlink()
    (versions.folder / 'adapter-000002.json').write_bytes(b'{}')
    problems = [each.problem for each in versions.store.entries()]
    assert problems[0] == '' and 'No such file' in problems[1] and 'format must be' in problems[2]


def test_a_full_disk_leaves_no_half_version(versions, in_child):
    versions.chain(2)
    before = sorted(each.name for each in versions.folder.iterdir())

    def child() -> None:
        for limit in (10, 500, len(versions.adapter(3).to_bytes())):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            with pytest.raises(StateError, match='File too large'):
                versions.save(3, 2, reason='x' * 1800)
        with pytest.raises(StateError):
            versions.store.decide(2, 'rolled back', reason='y' * 1800)

    in_child(child)
    assert sorted(each.name for each in versions.folder.iterdir()) == before
    assert start(versions).manifest.number == 2


def test_a_folder_that_cannot_be_written_to(open_folder, clock, in_child, versions):
    versions.chain(1)
    versions.save(2)
    versions.save(3)
    for each in versions.folder.iterdir():
        (open_folder / each.name).write_bytes(each.read_bytes())
    open_folder.chmod(0o555)

    def child() -> None:
        store = VersionStore(open_folder, clock)
        assert store.latest_accepted(versions.layout, versions.backbone).manifest.number == 1
        for change in (lambda: store.save(versions.adapter(4), versions.manifest(4)),
                       lambda: store.set_current(0), lambda: store.decide(1, 'rolled back'),
                       lambda: prune(store, 0, keep_count=0)):
            with pytest.raises(StateError, match='Permission denied'):
                change()

    in_child(child, unprivileged=True)


def test_what_is_saved_is_flushed_in_order(versions, monkeypatch):
    versions.chain(1)
    done = []
    real = os.fsync

    def fsync(handle: int) -> None:
        done.append(os.path.basename(os.readlink(f'/proc/self/fd/{handle}')))  # noqa: PTH115,PTH119
        real(handle)

    monkeypatch.setattr(os, 'fsync', fsync)
    versions.save(2)
    assert done == ['.adapter-000002.npz.partial', 'state', '.adapter-000002.json.partial',
                    'state']


def test_a_crash_between_any_two_steps_leaves_a_store_that_starts(versions, monkeypatch, in_child):
    versions.chain(1)
    for steps in range(1, 5):
        def child(steps: int = steps) -> None:
            real, left = os.fsync, [steps]

            def fsync(handle: int) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(0)
                real(handle)

            os.fsync = fsync
            versions.store.save(versions.adapter(2), versions.manifest(1 + steps, 1))

        in_child(child)
        assert start(versions).manifest.number == 1 and not start(versions).notices
        for each in versions.store.entries():
            assert each.problem in ('', 'no manifest')


def test_the_difference_of_two_versions(versions):
    versions.save(1)
    versions.save(2)
    found = diff(versions.store, 1, 2)
    one, two = versions.adapter(1), versions.adapter(2)
    square = sum(float(((one.b[:, k].astype(float) @ one.a[:, tap]
                         - two.b[:, k].astype(float) @ two.a[:, tap]) ** 2).sum())
                 for k, tap in enumerate(one.layout.slices))
    assert found.weights == pytest.approx(math.sqrt(square), rel=1e-6)
    assert found.figures['loss'] == (0.25, 0.5 / 3)
    assert found.corrections == {'a': (1, 2), 'b': (2, 2), 'c': (0, 0)}
    assert diff(versions.store, 1, 1).weights == 0.0


def test_the_difference_does_not_depend_on_the_rank(versions):
    one = versions.adapter(1)
    wider = Adapter(one.layout, np.concatenate([one.a, one.a]),
                    np.concatenate([one.b / 2, one.b / 2], axis=2), one.backbone)
    assert map_distance(one, wider) < 1e-6 * map_distance(one, None)


def test_versions_of_two_layouts_have_no_difference(versions):
    versions.save(1)
    other = versions.adapter(2, FeatureLayout((5, 8), 3))
    versions.store.save(other, versions.manifest(2))
    with pytest.raises(VersionError, match='cannot be compared'):
        diff(versions.store, 1, 2)


def numbers(versions) -> list[int]:
    return [each.number for each in versions.store.entries()]


def test_pruning_by_count_keeps_what_is_needed(versions):
    versions.chain(6)
    versions.save(7, 6, 'rejected')
    versions.store.set_current(3)
    assert prune(versions.store, versions.clock(), keep_count=1) == [1, 4, 5, 6]
    assert numbers(versions) == [0, 2, 3, 7]  # first, parent, in use, highest number


def test_pruning_keeps_the_parents_up_to_the_last_accepted_one(versions):
    versions.chain(3)
    versions.store.decide(2, 'rolled back')
    versions.store.decide(1, 'accepted', 'gate')
    assert prune(versions.store, versions.clock(), keep_count=0) == []
    versions.save(4, 3)
    versions.store.set_current(4)
    assert prune(versions.store, versions.clock(), keep_count=0) == [1, 2]


def test_pruning_by_age(versions):
    versions.chain(3)
    versions.clock.now_ns += 10 * DAY_NS
    versions.save(4, 3)
    versions.save(5, 4)
    versions.store.set_current(5)
    assert prune(versions.store, versions.clock(), keep_days=20) == []
    assert prune(versions.store, versions.clock(), keep_days=9.5) == [1, 2, 3]
    assert prune(versions.store, versions.clock()) == []
    assert numbers(versions) == [0, 4, 5]


def test_pruning_without_a_version_in_use_keeps_the_newest_accepted(versions):
    versions.chain(3)
    versions.save(4, 3, 'rejected')
    (versions.folder / 'current.json').unlink()
    (versions.folder / '.adapter-000005.npz.partial').write_bytes(b'x')
    assert prune(versions.store, versions.clock(), keep_count=0) == [1]
    assert numbers(versions) == [0, 2, 3, 4]
    assert not list(versions.folder.glob('.*'))


def test_nothing_is_pruned_while_the_version_in_use_is_not_known(versions):
    versions.chain(3)
    (versions.folder / 'current.json').write_text('{}')
    with pytest.raises(DamagedVersionError, match=r'current\.json'):
        prune(versions.store, versions.clock(), keep_count=0)
    assert numbers(versions) == [0, 1, 2, 3]


def test_damaged_versions_can_be_pruned(versions):
    versions.chain(4)
    (versions.folder / 'adapter-000001.json').write_bytes(b'')
    (versions.folder / 'adapter-000002.npz').unlink()
    assert prune(versions.store, versions.clock(), keep_count=3) == [1]
    assert prune(versions.store, versions.clock(), keep_count=2) == [2]


def test_a_flush_that_fails_is_told(versions, monkeypatch):
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(StateError, match='Input/output error'):
        versions.save(1)
    assert list(versions.store.entries()) == []
