"""The files of an audit log: the newest, `audit.jsonl`, and the full ones before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
import hashlib
from pathlib import Path

from instantft_ros.core.errors import AuditError
from instantft_ros.governance.audit_chain import (
    BEGAN_AGAIN,
    Chain,
    last_link,
    Link,
    read_chain,
)

NAME = 'audit.jsonl'


@dataclass(frozen=True)
class Verified:
    """What a whole log holds; `first` above 1: its older files lie elsewhere."""

    kinds: Counter[str]
    first: int
    last: Link
    torn_bytes: int

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.kinds.total()


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


def verify(path: Path) -> Verified:
    """Check every file of a log from its oldest; raises `AuditError` and `OSError`."""
    while True:
        files = full_files(path)
        try:
            return _verify(path, files)
        except (AuditError, FileNotFoundError):
            if files == full_files(path):
                raise
            # a node began the next file meanwhile


def _verify(path: Path, files: list[Path]) -> Verified:
    kinds: Counter[str] = Counter()
    first, link, torn = 0, None, 0
    for file in [*files, path] if path.exists() else files:
        chain = read_chain(file, link, lambda line: kinds.update([line.kind]))
        if chain.torn_bytes and file != path:
            raise AuditError(f'{file}: ends with {chain.torn_bytes} bytes that are no line')
        first = first or (chain.first.sequence if chain.first else 0)
        link, torn = chain.last or link, chain.torn_bytes
    return Verified(kinds, first, link or Link(), torn)


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
