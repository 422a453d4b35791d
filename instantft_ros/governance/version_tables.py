"""Versions as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
import math

from instantft_ros.governance.version_diff import VersionDiff
from instantft_ros.governance.version_files import NO_MANIFEST, VersionEntry
from instantft_ros.governance.version_manifest import VersionManifest

_COLUMNS = ('', 'version', 'parent', 'state', 'by', 'time', 'samples', 'loss', 'holdout', 'guard',
            'train ms', 'backend')


def table(rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Align cells; the first `left` columns to the left, the others to the right."""
    cells = [list(map(one_line, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join('  '.join(
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in cells)


def list_of(entries: Sequence[VersionEntry], current: int | None) -> str:
    """Give one line per version, and below them what is wrong with which."""
    rows = [_row(entry, entry.number == current) for entry in entries]
    problems = [f'version {entry.number}: {one_line(entry.problem)}' for entry in entries
                if entry.problem]
    return '\n'.join([table([_COLUMNS, *rows], left=0), *problems])


def _row(entry: VersionEntry, current: bool) -> Sequence[str]:
    state = ('' if not entry.problem else
             NO_MANIFEST if entry.problem == NO_MANIFEST else 'damaged')
    mark, one = '*' if current else '', entry.manifest
    if one is None:
        return (mark, str(entry.number), '', state, *[''] * (len(_COLUMNS) - 4))
    figures = one.figures
    return (mark, str(one.number), str(one.parent), state or one.state, one.accepted_by,
            f'{one.time[:10]} {one.time[11:19]}', str(sum(one.corrections.values())),
            number(figures.loss), number(figures.holdout_accuracy),
            number(figures.guard_accuracy), number(one.train_ms), one.backend)


def page_of(manifest: VersionManifest, current: bool) -> str:
    """Give every field of a version."""
    rows = []
    for key, value in asdict(manifest).items():
        if isinstance(value, dict):
            rows += [(key if i == 0 else '', f'{name}: {number(each)}')
                     for i, (name, each) in enumerate(value.items())] or [(key, '-')]
        else:
            text = number(', '.join(value) if isinstance(value, tuple) else value)
            rows.append((key, text))
    return table([*rows, ('in use', 'yes' if current else 'no')], left=2)


def diff_of(found: VersionDiff, before: int, after: int) -> str:
    """Give two versions side by side."""
    share = found.weights / found.weights_before if found.weights_before else math.nan
    rows = [('', f'version {before}', f'version {after}'),
            *((name, *map(number, pair)) for name, pair in found.figures.items()),
            *((f'corrections: {name}', *map(number, pair))
              for name, pair in found.corrections.items())]
    return (table(rows) + f'\nweights: the maps differ by {number(found.weights)}, '
            f'{number(100 * share)} % of the norm of version {before}')


def number(value: object) -> str:
    """Write a value shortly; '-' for none."""
    if isinstance(value, float):
        return '-' if math.isnan(value) else f'{value:.4g}'
    return '-' if value in (None, '') else str(value)


def one_line(text: str) -> str:
    """Keep control characters, which a file from elsewhere may hold, off the terminal."""
    return ''.join(each if each.isprintable() else ' ' for each in text)
