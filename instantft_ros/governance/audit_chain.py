"""The lines of an audit log: each names the hash of the one before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from instantft_ros.core.errors import AuditError
from instantft_ros.governance.plain_data import plain
from instantft_ros.governance.utc_time import utc_text

#: The `previous` of the first line of a chain.
ZEROS = 64 * '0'

#: The event that starts a new chain after a damaged one.
BEGAN_AGAIN = 'began_again'

#: The event that starts a file after a full one.
CONTINUED = 'continued'

#: No line is longer, so that reading one takes bounded memory.
MAX_LINE = 64 << 10

_HASH = b',"hash":"'
_TAIL = len(_HASH) + 64 + len(b'"}\n')


@dataclass(frozen=True)
class Link:
    """What the next line follows on: the sequence number and hash of the last one."""

    sequence: int = 0
    hash: str = ZEROS


@dataclass(frozen=True)
class Line:
    """One event as read back."""

    sequence: int
    time: str
    kind: str
    fields: dict[str, Any]
    previous: str
    hash: str

    @property
    def follows(self) -> Link:
        """Give the link that the line says it follows on."""
        return Link(self.sequence - 1, self.previous)


@dataclass(frozen=True)
class Chain:
    """What a file holds: its first and last whole line, their bytes, and bytes behind them."""

    first: Line | None
    last: Link | None
    bytes: int
    torn_bytes: int


def encode(link: Link, time_ns: int, kind: str, fields: dict[str, Any]) -> tuple[bytes, Link]:
    """Write the line that follows a link; gives it and the next link."""
    head = {'sequence': link.sequence + 1, 'time': utc_text(time_ns), 'kind': kind}
    body = _body(head | {'fields': plain(fields), 'previous': link.hash})
    if len(body) + _TAIL > MAX_LINE:
        body = _body(head | {'fields': {'omitted_bytes': len(body)}, 'previous': link.hash})
    digest = hashlib.sha256(body).hexdigest()
    return body + _HASH + digest.encode() + b'"}\n', Link(link.sequence + 1, digest)


def _body(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(',', ':'), allow_nan=False)[:-1].encode()


def decode(line: bytes) -> Line:
    """Read one line; raises `AuditError` unless it is what `encode` wrote."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if not (tail.startswith(_HASH) and tail.endswith(b'"}\n')):
        raise AuditError(f'must end with its hash, it ends with {line[-24:]!r}')
    stated, computed = tail[len(_HASH):-3], hashlib.sha256(body).hexdigest()
    if stated != computed.encode():
        raise AuditError(f'its content has the hash {computed}, it states '
                         f'{stated.decode("ascii", "replace")}')
    try:
        return Line(**json.loads(body + b'}'), hash=computed)
    except (ValueError, TypeError, RecursionError) as error:
        raise AuditError(f'is not an event: {error}') from error


def read_chain(path: Path, start: Link | None,
               see: Callable[[Line], None] = lambda line: None) -> Chain:
    """
    Check a file line by line, in bounded memory.

    start: what its first line must follow on; None: it is the first event of all, or `CONTINUED`
    from a file that is not here. A file may begin with `BEGAN_AGAIN` instead. Raises
    `AuditError` that names the line, what came and what was wanted; `OSError` when the file
    cannot be read. A last line without an end is torn, which is no error.
    """
    first, link, size, number = None, start, 0, 0
    with path.open('rb') as stream:
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if not raw.endswith(b'\n'):
                torn = _bytes_to_end(stream, raw, f'{path}, line {number}')
                return Chain(first, link if number > 1 else None, size, torn)
            try:
                line = decode(raw)
                if first is None:
                    first = line
                    if line.kind == BEGAN_AGAIN:
                        link = Link()
                    elif link is None:
                        link = line.follows if line.kind == CONTINUED else Link()
                assert link is not None
                _check(line, link)
            except AuditError as error:
                raise AuditError(f'{path}, line {number}: {error}') from error
            link = Link(line.sequence, line.hash)
            size += len(raw)
            see(line)
    return Chain(first, link if number else None, size, 0)


def _check(line: Line, link: Link) -> None:
    if line.previous != link.hash:
        raise AuditError(f'previous must be {link.hash}, got {line.previous}')
    if line.sequence != link.sequence + 1:
        raise AuditError(f'sequence must be {link.sequence + 1}, got {line.sequence}')


def _bytes_to_end(stream: BinaryIO, raw: bytes, where: str) -> int:
    """Count a torn line; raises `AuditError` when it is a whole one that is too long."""
    count = len(raw)
    while block := stream.read(MAX_LINE):
        if b'\n' in block:
            raise AuditError(f'{where}: at most {MAX_LINE} bytes are wanted, this has more')
        count += len(block)
    return count


def last_link(path: Path) -> Link:
    """Read the last line of a file that was closed; raises `AuditError` and `OSError`."""
    with path.open('rb') as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - MAX_LINE - 1))
        lines = stream.read().splitlines(keepends=True)
    try:
        line = decode(lines[-1] if lines else b'')
    except AuditError as error:
        raise AuditError(f'{path}, last line: {error}') from error
    return Link(line.sequence, line.hash)
