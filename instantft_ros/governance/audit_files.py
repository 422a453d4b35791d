"""The files of an audit log: the newest, `audit.jsonl`, and the full ones before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path

from instantft_ros.core.errors import AuditError
from instantft_ros.governance.audit_chain import (
    BEGAN_AGAIN,
    Chain,
    last_link,
    Line,
    Link,
    read_chain,
)

NAME = 'audit.jsonl'


@dataclass(frozen=True)
class Verified:
    """What a whole log holds; `first` above 1: its older files lie elsewhere."""

    events: int
    first: int
    last: Link
    torn_bytes: int


def full_files(path: Path) -> list[Path]:
    """Name the full files before a log's newest one, oldest first."""
    return sorted(each for each in path.parent.glob('audit-*.jsonl')
                  if each.stem.removeprefix('audit-').isdigit())


def read_newest(path: Path) -> tuple[Link, Chain]:
    """Check the newest file, and that it follows the one before; `AuditError`, `OSError`."""
    full = full_files(path)
    chain = read_chain(path, None) if path.exists() else Chain(None, None, 0, 0)
    if chain.first is None or chain.last is None:
        return last_link(full[-1]) if full else Link(), chain
    if full and chain.first.kind != BEGAN_AGAIN \
            and (before := last_link(full[-1])) != chain.first.follows:
        raise AuditError(f'{path}, line 1: must follow on {before}, it follows on '
                         f'{chain.first.follows}')
    return chain.last, chain


def verify(path: Path, see: Callable[[Line], None] = lambda line: None) -> Verified:
    """Check every file of a log from its oldest; raises `AuditError` and `OSError`."""
    events, first, link, torn = 0, 0, None, 0

    def count(line: Line) -> None:
        nonlocal events, first
        events += 1
        first = first or line.sequence
        see(line)

    for file in full_files(path) + ([path] if path.exists() else []):
        chain = read_chain(file, link, count)
        if chain.torn_bytes and file != path:
            raise AuditError(f'{file}: ends with {chain.torn_bytes} bytes that are no line')
        link, torn = chain.last or link, chain.torn_bytes
    return Verified(events, first, link or Link(), torn)


def sha256_of(path: Path) -> str:
    """Hash a file of any size; raises `OSError`."""
    state = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def free_name(path: Path, form: str) -> Path:
    """Name a file that is not there yet, with the number after the highest one."""
    prefix, suffix = form.split('{')[0], form.split('}')[-1]
    used = (each.name[len(prefix):len(each.name) - len(suffix)]
            for each in path.parent.glob(f'{prefix}*{suffix}'))
    return path.with_name(form.format(max((int(n) for n in used if n.isdigit()), default=0) + 1))
