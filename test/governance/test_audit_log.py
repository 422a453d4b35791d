"""The audit log tells everything, or says what is missing, whatever happens to its file."""

import errno
import hashlib
import json
import os
from pathlib import Path
import re
import resource
import subprocess
import sys

import numpy as np
import pytest

from instantft_ros.core.errors import AuditError, LockedError, StateError
from instantft_ros.governance import append_file, audit_files
from instantft_ros.governance.audit_chain import MAX_LINE, read_chain
from instantft_ros.governance.audit_files import verify
from instantft_ros.governance.audit_log import AuditLog


def filled(path: Path, clock, events: int = 3) -> bytes:
    log = AuditLog(path, clock)
    for i in range(events):
        log.append('correction', frame=i, class_name='bag')
    log.close()
    return path.read_bytes()


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / 'audit.jsonl'


def test_each_line_names_the_hash_of_the_one_before(path, clock):
    previous = 64 * '0'
    for number, line in enumerate(filled(path, clock).splitlines(), start=1):
        event = json.loads(line)
        assert (event['sequence'], event['previous']) == (number, previous)
        assert event['kind'] == 'correction' and event['fields']['class_name'] == 'bag'
        assert re.fullmatch(r'2023-11-14T22:13:\d\d\.000000000Z', event['time'])
        previous = hashlib.sha256(line[:line.rindex(b',"hash":"')]).hexdigest()
        assert event['hash'] == previous


def test_opening_goes_on_with_the_chain(path, clock):
    filled(path, clock)
    filled(path, clock)
    assert verify(path).last.sequence == 6


def test_what_is_no_number_becomes_null_and_long_texts_are_cut(path, clock):
    log = AuditLog(path, clock)
    log.append('decision', loss=float('nan'), counts=np.arange(2), of=np.float32(0.5),
               text='x' * 5000, folder=Path('/a'))
    log.append('decision', **{str(i): 1000 * 'y' for i in range(100)})
    log.append('decision', text='\ud800\n"')
    log.close()
    first, second, third = (line['fields'] for line in lines_of(path))
    assert first | {'text': ''} == {'loss': None, 'counts': [0, 1], 'of': 0.5, 'text': '',
                                    'folder': '/a'}
    assert len(first['text']) == 2003 and list(second) == ['omitted_bytes']
    assert third['text'] == '\ud800\n"'
    assert verify(path).events == 3


def test_what_is_no_plain_data_leaves_the_log_as_it_was(path, clock):
    with pytest.raises(TypeError, match='set is not plain data'):
        AuditLog(path, clock).append('decision', what={1})
    assert path.read_bytes() == b''


def test_a_line_torn_at_any_byte_is_cut_off_and_told(path, clock, tmp_path):
    data = filled(path, clock)
    start = data[:-1].rindex(b'\n') + 1
    for end in range(start + 1, len(data)):
        path.write_bytes(data[:end])
        log = AuditLog(path, clock)
        log.append('swap', version=1)
        log.close()
        *kept, torn, swap = lines_of(path)
        assert path.read_bytes().startswith(data[:start]) and len(kept) == 2
        assert torn['kind'] == 'torn' and torn['fields']['bytes'] == end - start
        copy = (tmp_path / torn['fields']['file']).read_bytes()
        assert copy == data[start:end]
        assert hashlib.sha256(copy).hexdigest() == torn['fields']['sha256']
        assert swap['kind'] == 'swap' and verify(path).events == 4


def test_zeros_that_a_power_failure_left_are_a_torn_line(path, clock):
    data = filled(path, clock)
    path.write_bytes(data + bytes(3 * MAX_LINE))
    filled(path, clock)
    assert lines_of(path)[3]['fields']['bytes'] == 3 * MAX_LINE


def test_every_changed_byte_is_found(path, clock):
    data = bytearray(filled(path, clock))
    for position in range(len(data) - 1):  # without the last newline the line is torn
        data[position] ^= 0x01
        path.write_bytes(data)
        with pytest.raises(AuditError, match=r'audit\.jsonl, line [123]: '):
            read_chain(path, None)
        data[position] ^= 0x01


def test_lines_that_are_missing_repeated_or_exchanged_are_found(path, clock):
    one, two, three = filled(path, clock).splitlines(keepends=True)
    for lines, number in (((two, three), 1), ((one, three), 2), ((one, two, two), 3),
                          ((one, three, two), 2), ((one, b'\n', two), 2)):
        path.write_bytes(b''.join(lines))
        with pytest.raises(AuditError, match=f'line {number}: .*must '):
            AuditLog(path, clock)


def test_a_broken_chain_says_what_came_and_what_was_wanted(path, clock):
    one, two, three = filled(path, clock).splitlines(keepends=True)
    path.write_bytes(one + three)
    wanted, came = (json.loads(line)['hash'] for line in (one, two))
    with pytest.raises(AuditError, match=f'line 2: previous must be {wanted}, got {came}'):
        AuditLog(path, clock)
    path.write_bytes(one + 2 * MAX_LINE * b'x' + b'\n')
    with pytest.raises(AuditError, match=f'at most {MAX_LINE} bytes'):
        AuditLog(path, clock)


def test_beginning_again_names_the_damaged_log_and_its_hash(path, clock, tmp_path):
    damaged = filled(path, clock).replace(b'bag', b'hat', 1)
    path.write_bytes(damaged)
    with pytest.raises(AuditError, match='--set-aside'):
        AuditLog(path, clock)
    assert path.read_bytes() == damaged
    log = AuditLog(path, clock, begin_again=True)
    log.append('swap', version=1)
    log.close()
    first, swap = lines_of(path)
    assert (first['kind'], first['sequence'], swap['kind']) == ('began_again', 1, 'swap')
    assert (tmp_path / first['fields']['file']).read_bytes() == damaged
    assert first['fields']['sha256'] == hashlib.sha256(damaged).hexdigest()
    assert 'line 1' in first['fields']['reason']
    filled(path, clock)
    assert verify(path).events == 5


def test_the_chain_goes_on_over_full_files(path, clock, tmp_path):
    log = AuditLog(path, clock, max_bytes=2000)
    for i in range(40):
        log.append('correction', frame=i)
    log.close()
    files = sorted(tmp_path.glob('audit*.jsonl'))
    assert len(files) > 3 and all(each.stat().st_size < 2500 for each in files)
    assert verify(path).last.sequence == 40 + len(files) - 1
    assert lines_of(path)[0]['kind'] == 'continued'
    files[1].unlink()
    with pytest.raises(AuditError, match='previous must be'):
        verify(path)
    files[0].unlink()  # older files may lie elsewhere
    assert verify(path).first > 1
    AuditLog(path, clock).close()


def test_a_file_that_begins_while_the_log_is_checked(path, clock, monkeypatch):
    log = AuditLog(path, clock, max_bytes=2000)
    for i in range(20):
        log.append('correction', frame=i)
    real = audit_files.full_files

    def late(at: Path) -> list[Path]:
        found = real(at)
        monkeypatch.undo()
        for i in range(20):
            log.append('correction', frame=i)
        return found

    monkeypatch.setattr(audit_files, 'full_files', late)
    found = verify(path)
    assert found.last == log.link and found.events == log.link.sequence
    log.close()


def test_a_file_that_does_not_follow_the_full_one_is_refused(path, clock, tmp_path):
    filled(path, clock)
    path.rename(tmp_path / 'audit-000001.jsonl')
    filled(tmp_path / 'other' / 'audit.jsonl', clock)
    (tmp_path / 'other' / 'audit.jsonl').rename(path)
    with pytest.raises(AuditError, match='line 1: must follow on'):
        AuditLog(path, clock)


@pytest.mark.parametrize('left', [None, b'', b'{"seq'])
def test_a_crash_between_two_files(path, clock, tmp_path, left):
    filled(path, clock)
    path.rename(tmp_path / 'audit-000001.jsonl')
    if left is not None:
        path.write_bytes(left)
    for events in (3, 0, 2):
        filled(path, clock, events)
    kinds = [line['kind'] for line in lines_of(path)]
    assert kinds == ['continued', *(['torn'] if left else []), *5 * ['correction']]
    assert lines_of(path)[0]['fields']['file'] == 'audit-000001.jsonl'
    assert verify(path).events == 3 + len(kinds)


def test_a_full_disk_is_told_once_and_the_gap_afterwards(path, clock, monkeypatch):
    log = AuditLog(path, clock)
    log.append('correction')
    write = os.write

    def full(handle: int, data) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(handle, bytes(data[:40]))  # a part of the line still fits

    monkeypatch.setattr(append_file.os, 'write', lambda handle, data: (
        full(handle, data) if len(data) > 100 else full(handle, b'')))
    before = path.read_bytes()
    with pytest.raises(StateError, match='No space left'):
        log.append('correction')
    for _ in range(4):
        log.append('swap')
    assert log.lost == 5 and path.read_bytes() == before
    monkeypatch.undo()
    log.append('swap')
    assert log.lost == 0
    log.append('swap')
    log.close()
    kinds = [line['kind'] for line in lines_of(path)]
    assert kinds == ['correction', 'gap', 'swap', 'swap']
    assert lines_of(path)[1]['fields']['lost'] == 5
    assert verify(path).events == 4


def test_a_limit_on_the_size_of_files(path, clock, in_child):
    def child() -> None:
        log = AuditLog(path, clock)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        failed = 0
        for _ in range(20):
            try:
                log.append('correction')
            except StateError:
                failed += 1
        assert failed == 1 and log.lost > 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        log.append('swap')
        log.close()

    in_child(child)
    *kept, gap, swap = lines_of(path)
    assert gap['fields']['lost'] + len(kept) == 20 and swap['kind'] == 'swap'
    assert verify(path).events == len(kept) + 2


def test_a_folder_that_cannot_be_written_to(open_folder, clock, in_child):
    path = open_folder / 'audit.jsonl'
    data = filled(path, clock)
    open_folder.chmod(0o555)
    path.chmod(0o444)

    def child() -> None:
        log = AuditLog(path, clock)
        with pytest.raises(StateError, match='Permission denied'):
            log.append('swap')
        log.append('swap')
        assert log.lost == 2
        log.close()

    in_child(child, unprivileged=True)
    assert path.read_bytes() == data


def test_a_folder_that_cannot_be_made(open_folder, clock, in_child):
    open_folder.chmod(0o555)

    def child() -> None:
        with pytest.raises(StateError, match='cannot be used: Permission denied'):
            AuditLog(open_folder / 'state' / 'audit.jsonl', clock)

    in_child(child, unprivileged=True)


def test_two_in_one_folder(path, clock):
    code = ('import sys, time\nfrom pathlib import Path\n'
            'from instantft_ros.governance.audit_log import AuditLog\n'
            'log = AuditLog(Path(sys.argv[1]), time.time_ns)\nprint(flush=True)\ninput()')
    with subprocess.Popen([sys.executable, '-c', code, path], stdout=subprocess.PIPE,
                          stdin=subprocess.PIPE) as first:
        first.stdout.readline()
        with pytest.raises(LockedError, match=f'in use by process {first.pid}, one'):
            AuditLog(path, clock)
        first.kill()
    AuditLog(path, clock).close()


def test_closing_and_failing_to_open_give_the_folder_free(path, clock):
    log = AuditLog(path, clock)
    with pytest.raises(LockedError):
        AuditLog(path, clock)
    log.close()
    with pytest.raises(StateError, match='was closed'):
        log.append('swap')
    path.write_bytes(b'damaged\n')
    for _ in range(2):
        with pytest.raises(AuditError):
            AuditLog(path, clock)


def test_what_matters_is_flushed_at_once_and_corrections_together(path, clock, monkeypatch):
    flushed = []
    log = AuditLog(path, clock)
    monkeypatch.setattr(os, 'fsync', flushed.append)
    for _ in range(5):
        log.append('correction')
    assert not flushed
    log.sync()
    log.sync()
    assert len(flushed) == 1
    for kind in ('swap', 'rollback', 'decision'):
        log.append(kind)
    assert len(flushed) == 4


def test_a_disk_that_cannot_be_flushed_is_told(path, clock, monkeypatch):
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, 'Input/output error')

    log = AuditLog(path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fail)
        with pytest.raises(StateError, match='cannot be flushed'):
            log.append('swap')
        with pytest.raises(StateError, match='cannot be flushed'):
            log.sync()
    log.close()
    assert verify(path).events == 1
