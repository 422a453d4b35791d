"""
The command `instantft versions`: the adapters of a state directory, offline.

`list`, `show`, `diff`, `export` and `verify` only read, and may be used while a node runs.
`import`, `prune` and `verify --set-aside` change the directory and are refused while a node has it
(doc/versions.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
import getpass
from pathlib import Path
import sys
import time

from instantft_ros.core.errors import DamagedVersionError, InstantFTError, StateError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.manifest import Manifest
from instantft_ros.governance import audit_files, state_check, version_tables
from instantft_ros.governance.audit_log import AuditLog
from instantft_ros.governance.version_diff import diff
from instantft_ros.governance.version_export import export, import_
from instantft_ros.governance.version_pruning import prune
from instantft_ros.governance.version_store import VersionStore
from instantft_ros.models import DEFAULT_MANIFEST

#: Ends the command when a check found damage, or nothing could be done.
FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's subcommands and their arguments."""
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add(name: str, work: Callable[[argparse.Namespace], int],
            text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f'{name}: {text}')
        command.add_argument('folder', type=Path, metavar='DIR',
                             help='the state directory of a node')
        command.set_defaults(run=lambda arguments: _run(work, arguments))
        return command

    add('list', _list, 'every version, the one in use with a star, and what is damaged')
    _number(add('show', _show, 'every field of one version'))
    command = add('diff', _diff, 'two versions side by side')
    _number(command, 'before')
    _number(command, 'after')
    command = add('export', _export, 'write one version to a file for another robot')
    _number(command)
    command.add_argument('file', type=Path, metavar='FILE', help='the file to write')
    command = add('import', _import, 'take in a version that was exported, or an adapter file, '
                  'under a new number; as pending, unless --use is given')
    command.add_argument('file', type=Path, metavar='FILE', help='the file to read')
    command.add_argument('--manifest', type=Path, default=DEFAULT_MANIFEST,
                         help="the network's manifest.json, which the version must be made for "
                              '(default: the LeNet-5 for Fashion-MNIST of the package)')
    command.add_argument('--use', action='store_true',
                         help='accept it, and start with it from now on')
    command = add('prune', _prune, 'remove old versions; never version 0, the one in use, what it '
                  'could be rolled back to, nor the highest number')
    command.add_argument('--keep', type=_at_least_0(int), metavar='N',
                         help='remove all but the newest N')
    command.add_argument('--days', type=_at_least_0(float), metavar='D',
                         help='remove those older than so many days')
    command = add('verify', _verify, 'check every file: the audit log, the versions, the cache')
    command.add_argument('--set-aside', action='store_true',
                         help='when the audit log is damaged, keep it under another name and '
                              'begin a new one that names it')


def _run(work: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Say in one line what is wrong if something is; an exit code."""
    try:
        if not arguments.folder.is_dir():
            raise StateError(f'{arguments.folder} is not a directory')
        return work(arguments)
    except (InstantFTError, OSError) as error:
        print(f'instantft versions: {" ".join(str(error).split())}', file=sys.stderr)
        return FAILED


def _list(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    entries = list(store.entries())
    try:
        current = store.current()
        problem = ''
    except DamagedVersionError as error:
        current, problem = None, f'the version in use is not known: {error}'
    print(version_tables.list_of(entries, current) if entries else 'there is no version')
    if problem:
        print(problem)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    manifest, _ = store.load(arguments.number)
    print(version_tables.page_of(manifest, _current(store) == arguments.number))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    found = diff(_store(arguments), arguments.before, arguments.after)
    print(version_tables.diff_of(found, arguments.before, arguments.after))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    manifest = export(_store(arguments), arguments.number, arguments.file)
    print(f'wrote version {manifest.number} to {arguments.file}')
    return 0


def _import(arguments: argparse.Namespace) -> int:
    network = Manifest.load(arguments.manifest)
    with _changing(arguments) as log:
        manifest = import_(_store(arguments), arguments.file, FeatureLayout.of(network),
                           network.sha256, arguments.use)
        log.append('import', version=manifest.number, digest=manifest.digest,
                   origin=manifest.origin, state=manifest.state, operator=_operator())
    print(f'version {manifest.number}, {manifest.state}: '
          f'{version_tables.one_line(manifest.origin)}')
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    if arguments.keep is None and arguments.days is None:
        raise StateError('prune needs --keep or --days')
    with _changing(arguments) as log:
        removed = prune(_store(arguments), time.time_ns(), arguments.keep, arguments.days)
        if removed:
            log.append('prune', versions=removed, keep=arguments.keep, days=arguments.days,
                       operator=_operator())
    print(f'removed {len(removed)} versions' + (f': {removed}' if removed else ''))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.set_aside:
        AuditLog(arguments.folder / audit_files.NAME, time.time_ns, begin_again=True).close()
    report = state_check.check(arguments.folder)
    print('\n'.join([*report.lines, *(f'DAMAGED: {each}' for each in report.damage)]))
    return FAILED if report.damage else 0


@contextmanager
def _changing(arguments: argparse.Namespace) -> Iterator[AuditLog]:
    """Hold the directory while it is changed."""
    with closing(AuditLog(arguments.folder / audit_files.NAME, time.time_ns)) as log:
        yield log


def _store(arguments: argparse.Namespace) -> VersionStore:
    return VersionStore(arguments.folder, time.time_ns)


def _current(store: VersionStore) -> int | None:
    try:
        return store.current()
    except DamagedVersionError:
        return None


def _operator() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user, as in some containers
        return ''


def _number(parser: argparse.ArgumentParser, name: str = 'number') -> None:
    parser.add_argument(name, type=_at_least_0(int), metavar=name.upper(),
                        help='number of a version')


def _at_least_0(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value < 1e9:
            raise argparse.ArgumentTypeError(f"must be in [0, 1e9), got '{text}'")
        return value

    return parse
