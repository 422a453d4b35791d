"""`instantft versions`: what it prints, what it changes, how it ends."""

import json
from pathlib import Path
import re
import shutil
import textwrap

import numpy as np
import pytest

from instantft_ros.__main__ import main
from instantft_ros.core.features import FeatureRecord
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.audit_log import AuditLog
from instantft_ros.governance.cache_records import CorrectionRecord
from instantft_ros.governance.cache_store import CacheStore

COMMANDS = ('list', 'show', 'diff', 'export', 'import', 'prune', 'verify')


@pytest.fixture
def run(versions, capsys):
    """Run a subcommand on the folder; gives the exit code, what was printed and the errors."""
    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        code = main(['versions', command, str(versions.folder), *map(str, arguments)])
        return (code, *capsys.readouterr())
    return call


@pytest.fixture
def manifest(versions, tmp_path):
    """Write the manifest of the network that the versions are made for."""
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps({
        'format': 1, 'name': 'n', 'network': 'model.onnx', 'sha256': versions.backbone,
        'classes': ['a', 'b', 'c'], 'logits': 'z', 'taps': [
            {'name': f't{size}', 'size': size} for size in versions.layout.tap_sizes],
        'input': {'width': 1, 'height': 1, 'colour': 'mono', 'mean': [0.0], 'std': [1.0]}}))
    return path


def events(versions) -> list[dict]:
    return [json.loads(line) for line in (versions.folder / 'audit.jsonl').read_text()
            .splitlines()]


def test_the_list_is_aligned_and_tells_what_is_damaged(versions, run):
    versions.chain(2)
    versions.save(3, 2, 'pending')
    (versions.folder / 'adapter-000001.npz').write_bytes(b'')
    (versions.folder / 'adapter-000012.npz').write_bytes(b'')
    code, out, _ = run('list')
    lines = out.splitlines()
    assert code == 0 and len(lines) == 8
    assert lines[0].split() == ['version', 'parent', 'state', 'by', 'time', 'samples', 'loss',
                                'holdout', 'guard', 'train', 'ms', 'backend']
    assert lines[3].split()[:5] == ['*', '2', '1', 'accepted', 'gate']
    assert lines[3].split()[7:] == ['4', '0.1667', '0.9', '-', '4.5', 'cpu']
    assert len({line.index('cpu') for line in lines[1:5]}) == 1
    assert 'damaged' in lines[2] and 'pending' in lines[4] and 'no manifest' in lines[5]
    assert lines[6].startswith('version 1: adapter-000001.npz: must have ')


def test_an_empty_directory(versions, run):
    versions.folder.mkdir()
    assert run('list')[:2] == (0, 'there is no version\n')
    code, out, _ = run('verify')
    assert code == 0 and 'audit log: 0 events' in out and 'in use: none' in out
    assert run('show', 1)[2] == 'instantft versions: version 1 is not there\n'
    assert not list(versions.folder.iterdir())  # reading changes nothing


def test_one_version_is_shown_with_every_field(versions, run):
    versions.chain(1)
    code, out, _ = run('show', 1)
    fields = dict(line.split(maxsplit=1) for line in out.splitlines() if line[0] != ' ')
    assert code == 0 and fields['state'] == 'accepted' and fields['class_names'] == 'a, b, c'
    assert fields['corrections'] == 'a: 1' and fields['schedule'] == 'epochs: 10'
    assert fields['backbone'] == versions.backbone and fields['in'].split() == ['use', 'yes']
    assert '                 optimizer: adam\n' in out and 'origin           -\n' in out


def test_control_characters_do_not_reach_the_terminal(versions, run):
    versions.save(1, robot='\x1b[2Jr\ud8002', reason='a\nb')
    for command in (('show', 1), ('list',)):
        code, out, _ = run(*command)
        assert code == 0 and '\x1b' not in out and '\ud800' not in out


def test_two_versions_side_by_side(versions, run):
    versions.chain(2)
    code, out, _ = run('diff', 1, 2)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ['loss', '0.25', '0.1667'] in rows and ['corrections:', 'a', '1', '2'] in rows
    assert ['logit_scale', '1', '1'] in rows
    assert 'weights: the maps differ by' in out
    assert 'differ by 0, 0 %' in run('diff', 1, 1)[1]


def test_a_version_travels_to_another_robot(versions, run, manifest, tmp_path, capsys):
    versions.chain(2)
    file, other = tmp_path / 'two.zip', tmp_path / 'other'
    assert run('export', 2, file) == (0, f'wrote version 2 to {file}\n', '')
    other.mkdir()
    assert main(['versions', 'import', str(other), str(file), '--manifest', str(manifest)]) == 0
    assert capsys.readouterr().out == 'version 1, pending: version 2 of r2\n'
    code, out, _ = run('import', file, '--manifest', manifest, '--use')
    assert (code, out) == (0, 'version 3, accepted: version 2 of r2\n')
    assert versions.store.current() == 3
    (event,) = events(versions)
    assert event['kind'] == 'import' and event['fields']['version'] == 3
    assert event['fields']['digest'] == versions.adapter(2).digest()


def test_another_network_and_damaged_files_are_refused(versions, run, manifest, tmp_path):
    versions.chain(1)
    file = tmp_path / 'one.zip'
    run('export', 1, file)
    code, _, error = run('import', file)  # for the network of the package
    assert code == 1 and 'the adapter was made for backbone abab' in error
    file.write_bytes(file.read_bytes()[:-1])
    assert run('import', file, '--manifest', manifest)[0] == 1
    assert [each.number for each in versions.store.entries()] == [0, 1]


def test_pruning_is_told_and_logged(versions, run):
    versions.chain(5)
    assert run('prune')[2] == 'instantft versions: prune needs --keep or --days\n'
    assert run('prune', '--days', 1e8)[:2] == (0, 'removed 0 versions\n')
    assert run('prune', '--keep', 3)[:2] == (0, 'removed 2 versions: [1, 2]\n')
    (event,) = events(versions)
    assert event['kind'] == 'prune' and event['fields']['versions'] == [1, 2]
    assert event['fields']['keep'] == 3


def test_what_changes_the_directory_waits_for_the_node_to_end(versions, run, tmp_path):
    versions.chain(3)
    log = AuditLog(versions.folder / 'audit.jsonl', versions.clock)
    for command in (('prune', '--keep', 0), ('import', tmp_path / 'x'),
                    ('verify', '--set-aside')):
        code, _, error = run(*command)
        assert code == 1 and 'is in use by process' in error
    assert run('list')[0] == run('verify')[0] == run('export', 1, tmp_path / 'x.zip')[0] == 0
    log.close()


def full_state(versions) -> None:
    versions.chain(2)
    log = AuditLog(versions.folder / 'audit.jsonl', versions.clock)
    for _ in range(3):
        log.append('correction')
    log.append('swap')
    log.close()
    cache = CacheStore(versions.folder / 'cache.journal', versions.layout, versions.backbone, 9)
    features = FeatureRecord(np.zeros(6, np.uint8), np.zeros(2, np.float32),
                             np.zeros(3, np.float32), 0.0)
    for stamp in (1, 2):
        cache.append([CorrectionRecord(FrameId('belt', stamp), 1, 1, None, features)])
    cache.append([CorrectionRecord(FrameId('belt', 1), None, 2)])
    cache.taken_up(1)
    cache.close()


def test_verify_tells_what_is_there(versions, run):
    full_state(versions)
    code, out, _ = run('verify')
    assert code == 0
    assert 'audit log: 4 events, 1 to 4, last hash ' + events(versions)[-1]['hash'] in out
    assert '3 correction, 1 swap' in out and 'versions: 3, 3 accepted' in out
    assert 'in use: version 2' in out
    assert 'cache: 1 labels, 1 retractions, 2 open corrections, for backbone abab' in out


@pytest.mark.parametrize('name', ['audit.jsonl', 'adapter-000001.json', 'adapter-000002.npz',
                                  'cache.journal', 'current.json'])
def test_verify_finds_a_changed_byte_in_any_file(versions, run, name):
    full_state(versions)
    path = versions.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x08
    path.write_bytes(data)
    code, out, _ = run('verify')
    assert code == 1 and out.count('DAMAGED: ') == 1 and name in out.split('DAMAGED: ')[1]


def test_a_damaged_audit_log_is_set_aside_when_asked(versions, run):
    full_state(versions)
    path = versions.folder / 'audit.jsonl'
    path.write_bytes(path.read_bytes().replace(b'"swap"', b'"snap"'))
    code, _, error = run('prune', '--keep', 0)
    assert code == 1 and 'instantft versions verify DIR --set-aside' in error
    code, out, _ = run('verify', '--set-aside')
    assert code == 0 and '1 began_again' in out and 'audit.damaged-1' in out
    assert run('prune', '--keep', 0)[0] == 0


def test_torn_ends_are_told_but_are_no_damage(versions, run):
    full_state(versions)
    for name in ('audit.jsonl', 'cache.journal'):
        with (versions.folder / name).open('ab') as stream:
            stream.write(b'{"seq')
    code, out, _ = run('verify')
    assert code == 0 and '5 bytes of a torn last line' in out and '5 bytes behind' in out


@pytest.mark.parametrize('command', COMMANDS)
def test_help_and_wrong_arguments(command, versions, capsys, tmp_path):
    for arguments, code in ((['--help'], 0), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            main(['versions', command, *arguments])
        assert ended.value.code == code
    assert f'usage: instantft versions {command}' in capsys.readouterr().out
    more = {'show': ['1'], 'diff': ['1', '2'], 'export': ['1', 'x'], 'import': ['x'],
            'prune': ['--keep', '1']}.get(command, [])
    assert main(['versions', command, str(tmp_path / 'nothing'), *more]) == 1
    assert 'nothing is not a directory' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['show', 'DIR', '-1'], ['show', 'DIR', 'x'], [],
                                       ['prune', 'DIR', '--keep', 'nan'],
                                       ['prune', 'DIR', '--days', '-1'], ['forget', 'DIR']])
def test_arguments_out_of_bounds(arguments):
    with pytest.raises(SystemExit) as ended:
        main(['versions', *arguments])
    assert ended.value.code == 2


def test_the_commands_of_the_documentation(monkeypatch, tmp_path, capsys):
    page = (Path(__file__).parents[2] / 'doc' / 'versions.md').read_text()
    blocks = [textwrap.dedent(each) for each in re.findall(r'(?:^ {4}.*\n)+', page, re.MULTILINE)]
    (script,) = (each for each in blocks if each.startswith('scripts/in_env python - '))
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"<<'END'\n(.*)END\n", script, re.DOTALL)[1], {})
    prefix = 'scripts/in_env python -m instantft_ros '
    commands = [line.removeprefix(prefix) for each in blocks for line in each.splitlines()
                if line.startswith(prefix)]
    assert {each.split()[1] for each in commands} == set(COMMANDS)
    for each in commands:
        capsys.readouterr()
        assert main(each.split()) == 0
    shown = re.search(r'then prints\n\n```\n(.*?)```', page, re.DOTALL)[1]

    def columns(text: str) -> list[list[str]]:
        return [re.sub(r'\d{4}-\d\d-\d\d', 'a day', line).split()[:4]
                for line in text.splitlines()]

    assert columns(capsys.readouterr().out) == columns(shown)


def test_every_key_of_the_manifest_is_documented(versions):
    page = (Path(__file__).parents[2] / 'doc' / 'versions.md').read_text()
    for key in json.loads(versions.save(1).to_bytes()):
        assert f'`{key}`' in page


def test_a_copy_of_the_directory_is_as_good(versions, run, tmp_path, capsys):
    full_state(versions)
    shutil.copytree(versions.folder, tmp_path / 'copy')
    assert main(['versions', 'verify', str(tmp_path / 'copy')]) == 0
    assert capsys.readouterr().out == run('verify')[1]
