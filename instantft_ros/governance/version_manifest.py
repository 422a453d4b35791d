"""What is recorded of a version: where its adapter came from, its figures, who accepted it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
import hashlib
import json
import math
import re
from typing import Any

from instantft_ros.core.errors import DamagedVersionError
from instantft_ros.governance.plain_data import MAX_TEXT, plain
from instantft_ros.governance.utc_time import utc_ns

FORMAT = 1

#: No manifest is longer.
MAX_MANIFEST_BYTES = 1 << 20

STATES = ('accepted', 'rejected', 'pending', 'rolled back')

#: Numbers that file names have room for.
MAX_NUMBER = 10**9

_DIGEST = re.compile('[0-9a-f]{64}')
_WHO = re.compile('|gate|rollback|import|operator:.+', re.DOTALL)


@dataclass(frozen=True)
class Figures:
    """What the gate measured; NaN where it had no such samples. Loss in nats."""

    loss: float = math.nan
    holdout_accuracy: float = math.nan
    guard_accuracy: float = math.nan


@dataclass(frozen=True)
class VersionManifest:
    """
    The record of one version; doc/versions.md tells every field.

    corrections: samples trained on, by class name. schedule: the fine-tuning's, as plain data.
    accepted_by: 'gate', 'operator:NAME', 'rollback', 'import', or '' unless it was accepted.
    The last five fields are the store's to fill in.
    """

    number: int
    parent: int
    state: str
    accepted_by: str = ''
    reason: str = ''
    class_names: tuple[str, ...] = ()
    corrections: dict[str, int] = field(default_factory=dict)
    session: str = ''
    cache_version: int = 0
    schedule: dict[str, Any] = field(default_factory=dict)
    backend: str = ''
    train_ms: float = math.nan
    figures: Figures = Figures()
    robot: str = ''
    origin: str = ''
    package_version: str = ''
    time: str = ''
    digest: str = ''
    backbone: str = ''
    file_bytes: int = 0
    file_sha256: str = ''

    def __post_init__(self) -> None:
        for key in ('number', 'parent', 'cache_version', 'file_bytes'):
            _want(0 <= getattr(self, key) < 1 << 63, key, 'an integer of at least 0',
                  getattr(self, key))
        _want(self.number <= MAX_NUMBER, 'number', f'at most {MAX_NUMBER}', self.number)
        _want(self.state in STATES, 'state', f'one of {STATES}', self.state)
        _want(bool(_WHO.fullmatch(self.accepted_by)), 'accepted_by',
              "'gate', 'operator:NAME', 'rollback', 'import' or ''", self.accepted_by)
        _want(self.state != 'accepted' or bool(self.accepted_by), 'accepted_by',
              'who or what accepted it', self.accepted_by)

    def decided(self, state: str, accepted_by: str, reason: str) -> VersionManifest:
        """Give the record with a decision."""
        return replace(self, state=state, accepted_by=accepted_by, reason=reason)

    def to_bytes(self) -> bytes:
        """Write JSON that ends with its own hash; the same content is the same bytes."""
        content = {'format': FORMAT} | plain(asdict(self))
        body = json.dumps(content, indent=2, allow_nan=False)
        digest = hashlib.sha256(body.encode()).hexdigest()
        return f'{body[:-2]},\n  "hash": "{digest}"\n}}\n'.encode()

    @staticmethod
    def from_bytes(data: bytes) -> VersionManifest:
        """Read what `to_bytes` wrote; raises `DamagedVersionError` that names the key."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamagedVersionError(f'not JSON: {error}') from error
        _want(isinstance(content, dict), 'the manifest', 'an object', content)
        version = content.pop('format', None)
        _want(type(version) is int and version == FORMAT, 'format', str(FORMAT), version)
        stated = content.pop('hash', None)
        manifest = VersionManifest(**_read(content))
        if manifest.to_bytes() != data:
            raise DamagedVersionError(f'the content does not have the hash {stated}')
        return manifest


def _read(content: dict[str, Any]) -> dict[str, Any]:
    """Check the kind of every value; the keys must be the fields, no more and no fewer."""
    names = [each.name for each in fields(VersionManifest)]
    _want(sorted(content) == sorted(names), 'the keys', str(names), sorted(content))
    figures = _plain_dict(content, 'figures', (int, float, type(None)))
    _want(sorted(figures) == sorted(asdict(Figures())), 'figures', 'the three of the gate',
          figures)
    names_of_classes = content['class_names']
    _want(isinstance(names_of_classes, list) and all(type(n) is str for n in names_of_classes),
          'class_names', 'a list of texts', names_of_classes)
    train_ms = content['train_ms']
    _want(train_ms is None or type(train_ms) in (int, float), 'train_ms', 'a number or null',
          train_ms)
    for key in ('digest', 'backbone', 'file_sha256'):
        _want(type(content[key]) is str and bool(_DIGEST.fullmatch(content[key])), key,
              '64 hexadecimal digits', content[key])
    for key in ('number', 'parent', 'cache_version', 'file_bytes'):
        _want(type(content[key]) is int, key, 'an integer', content[key])
    for key in ('state', 'accepted_by', 'reason', 'session', 'backend', 'robot', 'origin',
                'package_version', 'time'):
        _want(type(content[key]) is str and len(content[key]) <= MAX_TEXT + 3, key,
              f'a text of at most {MAX_TEXT + 3} characters', content[key])
    try:
        utc_ns(content['time'])
    except ValueError as error:
        raise DamagedVersionError(str(error)) from error
    return content | {
        'class_names': tuple(names_of_classes),
        'corrections': _plain_dict(content, 'corrections', (int,)),
        'schedule': _plain_dict(content, 'schedule', (int, float, str, bool, type(None))),
        'train_ms': _number(train_ms),
        'figures': Figures(**{key: _number(value) for key, value in figures.items()})}


def _plain_dict(content: dict[str, Any], key: str, kinds: tuple[type, ...]) -> dict[str, Any]:
    value = content[key]
    _want(isinstance(value, dict) and all(type(each) in kinds for each in value.values()), key,
          'an object of ' + ', '.join(kind.__name__ for kind in kinds), value)
    found: dict[str, Any] = value
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _want(fits: bool, key: str, wanted: str, came: object) -> None:
    if not fits:
        raise DamagedVersionError(f'{key} must be {wanted}, got {str(came)[:200]!r}')
