"""A process that is killed at any moment leaves what it had announced, and nothing half."""

import json
import os
from pathlib import Path
import random
import signal
import struct
import time

import numpy as np
import pytest

from instantft_ros.core.features import FeatureRecord
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance import cache_store
from instantft_ros.governance.audit_files import verify
from instantft_ros.governance.audit_log import AuditLog
from instantft_ros.governance.cache_records import CorrectionRecord
from instantft_ros.governance.cache_store import CacheStore
from instantft_ros.governance.version_pruning import prune
from instantft_ros.governance.version_store import VersionStore

KEPT = 20

#: What is announced: the number of the round, and of its version.
ROUND = struct.Struct('<qq')


def cache_of(folder: Path, versions) -> CacheStore:
    return CacheStore(folder / 'cache.journal', versions.layout, versions.backbone, KEPT)


def stamps_in(cache: CacheStore) -> set[int]:
    stamps: set[int] = set()
    cache.replay(lambda record: stamps.add(record.frame.stamp_ns))
    return stamps


def write_for_ever(folder: Path, versions, announce: int) -> None:
    """Do what a node does as fast as it goes; announce the number of rounds that are done."""
    log = AuditLog(folder / 'audit.jsonl', time.time_ns, max_bytes=20_000)
    store, cache = VersionStore(folder, time.time_ns), cache_of(folder, versions)
    rounds, parent = max(stamps_in(cache), default=0), store.current() or 0
    features = FeatureRecord(np.zeros(6, np.uint8), np.zeros(2, np.float32),
                             np.zeros(3, np.float32), 0.0)
    while True:
        rounds += 1
        cache.append([CorrectionRecord(FrameId('belt', rounds), 1, rounds, None, features)])
        plan = cache.plan([FrameId('belt', stamp) for stamp in range(rounds - KEPT, rounds + 1)])
        if plan is not None:
            cache.compact(plan)
        log.append('correction', round=rounds)
        number = store.next_number()
        store.save(versions.adapter(number), versions.manifest(number, parent))
        store.set_current(number)
        log.append('swap', version=number)
        parent = number
        if rounds % 5 == 0:
            prune(store, time.time_ns(), keep_count=3)
        os.write(announce, ROUND.pack(rounds, number))


@pytest.fixture
def small_snapshots(monkeypatch) -> None:
    monkeypatch.setattr(cache_store, 'MIN_BYTES', 3000)


def test_twenty_kills(tmp_path, versions, small_snapshots):
    rng, announced = random.Random(1), (0, 0)
    for kill in range(20):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_for_ever(tmp_path, versions, writer)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, 'rb') as stream:
            # every other time as soon as it starts
            rounds = stream.read(ROUND.size) if kill % 2 else b''
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL  # it had not failed before
            rounds += stream.read()
        if len(rounds) >= ROUND.size:
            whole = len(rounds) // ROUND.size * ROUND.size
            announced = ROUND.unpack(rounds[whole - ROUND.size:whole])
        examine(tmp_path, versions, *announced)
    assert announced[1] >= 10  # or nothing was tested


def examine(folder: Path, versions, round_: int, number: int) -> None:
    log = AuditLog(folder / 'audit.jsonl', time.time_ns)
    log.close()
    assert verify(folder / 'audit.jsonl').torn_bytes == 0
    events = [json.loads(line) for path in folder.glob('audit*.jsonl')
              for line in path.read_text().splitlines()]
    swaps = [each['fields']['version'] for each in events if each['kind'] == 'swap']
    assert max(swaps, default=0) >= number

    store = VersionStore(folder, time.time_ns)
    assert not [each for each in store.entries() if each.problem not in ('', 'no manifest')]
    found = store.latest_accepted(versions.layout, versions.backbone)
    assert not found.notices
    assert number == 0 or found.manifest.number >= number
    if found.manifest is not None:
        assert found.adapter.digest() == versions.adapter(found.manifest.number).digest()

    cache = cache_of(folder, versions)
    stamps = stamps_in(cache)
    newest = max(stamps, default=0)
    assert newest >= round_ and stamps >= set(range(max(1, newest - KEPT + 1), newest + 1))
    cache.close()
