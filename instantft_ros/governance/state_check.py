"""Checks everything in a state directory and changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
import time

from instantft_ros.core.errors import AuditError, CacheError, VersionError
from instantft_ros.governance import audit_files, cache_store
from instantft_ros.governance.cache_journal import inspect
from instantft_ros.governance.version_files import NO_MANIFEST
from instantft_ros.governance.version_store import VersionStore


@dataclass
class Report:
    """What was found, in words."""

    lines: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def check(folder: Path) -> Report:
    """Check the audit log, the versions and the cache; never raises for what is in them."""
    report = Report()
    _check_audit(folder / audit_files.NAME, report)
    _check_versions(VersionStore(folder, time.time_ns), report)
    _check_cache(folder / cache_store.NAME, report)
    aside = sorted(each.name for form in ('audit.torn-*', 'audit.damaged-*', '*.aside-*')
                   for each in folder.glob(form))
    if aside:
        report.lines.append(f'set aside before: {", ".join(aside)}')
    return report


def _check_audit(path: Path, report: Report) -> None:
    try:
        found = audit_files.verify(path)
    except (AuditError, OSError) as error:
        report.damage.append(str(error))
        return
    report.lines.append(
        f'audit log: {found.events} events' + (f', {found.first} to {found.last.sequence}, last '
                                               f'hash {found.last.hash}' if found.events else ''))
    if found.events:
        report.lines.append('  ' + ', '.join(f'{count} {kind}' for kind, count
                                             in found.kinds.most_common()))
    if found.first > 1:
        report.lines.append(f'  the events before {found.first} are not here')
    if found.torn_bytes:
        report.lines.append(f'  {found.torn_bytes} bytes of a torn last line, or of one that is '
                            'being written')


def _check_versions(store: VersionStore, report: Report) -> None:
    states: Counter[str] = Counter()
    for entry in store.entries():
        problem = entry.problem
        if not problem:
            try:
                store.load(entry.number)
            except VersionError as error:
                problem = str(error)
        states[entry.manifest.state if entry.manifest and not problem else
               problem if problem == NO_MANIFEST else 'damaged'] += 1
        if problem and problem != NO_MANIFEST:
            report.damage.append(f'version {entry.number}: {problem}')
    report.lines.append(f'versions: {states.total()}' + ''.join(
        f', {count} {state}' for state, count in states.most_common()))
    try:
        current = store.current()
        report.lines.append(f'in use: {"none" if current is None else f"version {current}"}')
    except VersionError as error:
        report.damage.append(f'the version in use is not known: {error}')


def _check_cache(path: Path, report: Report) -> None:
    if not path.exists():
        report.lines.append('cache: none')
        return
    try:
        form, content = inspect(path)
    except (CacheError, OSError) as error:
        report.damage.append(f'{path}: {error}')
        return
    labels = sum(place.standing.label is not None for place in content.places.values())
    report.lines.append(
        f'cache: {labels} labels, {len(content.places) - labels} retractions, '
        f'{content.open_corrections} open corrections, for backbone {form.backbone[:12]}...')
    (report.damage if content.damaged_bytes else report.lines).extend(content.notices)
