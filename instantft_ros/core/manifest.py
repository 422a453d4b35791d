"""The manifest of a frozen backbone: what the node must know about a network file."""

from __future__ import annotations

from dataclasses import dataclass, field
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from instantft_ros.core.errors import ManifestError

FORMAT = 1
COLOURS = {'mono': 1, 'rgb': 3, 'bgr': 3}


@dataclass(frozen=True)
class Tap:
    """One layer's input, published by the network as an output of this name and flat size."""

    name: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """
    What a network expects and gives.

    A pixel value v in [0, 255] of channel c enters the network as (v - mean[c]) / std[c].
    `sha256` is the hash of the network file, hexadecimal; adapters are bound to it. `replay` names
    a file of images from before the drift (core/replay.py); empty: there is none.
    """

    name: str
    network: str
    sha256: str
    classes: tuple[str, ...]
    width: int
    height: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    logits: str
    taps: tuple[Tap, ...]
    notes: str = ''
    replay: str = ''
    tap_sizes: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'tap_sizes', tuple(tap.size for tap in self.taps))

    @staticmethod
    def load(path: Path) -> Manifest:
        """Read a manifest file; raises `ManifestError` that says what is wrong with which key."""
        try:
            return Manifest.from_dict(json.loads(path.read_text()))
        except OSError as error:
            raise ManifestError(f'cannot read the manifest {path}: {error.strerror}') from error
        except ManifestError as error:
            raise ManifestError(f'{path}: {error}') from error
        except (ValueError, RecursionError) as error:  # too many digits or brackets among them
            raise ManifestError(f'{path} is not JSON: {error}') from error

    @staticmethod
    def from_dict(data: Any) -> Manifest:
        """Build a manifest from parsed JSON, checking every value."""
        top = _Reader(data, 'the manifest')
        if (version := top.get('format', int)) != FORMAT:
            raise ManifestError(f'format {version} is not known, this version reads {FORMAT}')
        image = _Reader(top.get('input', dict), 'input')
        taps = [_Reader(tap, f'taps[{i}]') for i, tap in enumerate(top.get('taps', list))]
        manifest = Manifest(
            name=top.get('name', str), network=top.get('network', str),
            sha256=top.get('sha256', str), classes=top.tuple_of('classes', str),
            width=image.positive('width'), height=image.positive('height'),
            colour=image.get('colour', str), mean=image.tuple_of('mean', float),
            std=image.tuple_of('std', float), logits=top.get('logits', str),
            taps=tuple(Tap(tap.get('name', str), tap.positive('size')) for tap in taps),
            notes=top.get('notes', str, ''), replay=top.get('replay', str, ''))
        manifest._check()
        return manifest

    def to_dict(self) -> dict[str, Any]:
        """Give the manifest as plain JSON values; `from_dict` is the inverse."""
        return {
            'format': FORMAT, 'name': self.name, 'network': self.network, 'sha256': self.sha256,
            'classes': list(self.classes),
            'input': {'width': self.width, 'height': self.height, 'colour': self.colour,
                      'mean': list(self.mean), 'std': list(self.std)},
            'logits': self.logits,
            'taps': [{'name': tap.name, 'size': tap.size} for tap in self.taps],
            'notes': self.notes,
        } | ({'replay': self.replay} if self.replay else {})

    def _check(self) -> None:
        for key, name in (('network', self.network), ('replay', self.replay)):
            if Path(name).name != name or '\0' in name:
                raise ManifestError(f'{key} must be a file name without a folder, got {name!r}')
        if len(self.sha256) != 64 or set(self.sha256) - set('0123456789abcdef'):
            raise ManifestError(f"sha256 must be 64 hexadecimal digits, got '{self.sha256}'")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ManifestError(f'classes must be two or more different names, got '
                                f'{list(self.classes)}')
        if self.colour not in COLOURS:
            raise ManifestError(f"input.colour must be one of {sorted(COLOURS)}, got "
                                f"'{self.colour}'")
        channels = COLOURS[self.colour]
        for key, values in (('mean', self.mean), ('std', self.std)):
            if len(values) != channels:
                raise ManifestError(f"input.{key} must have {channels} values for colour "
                                    f"'{self.colour}', got {len(values)}")
        if not all(value > 0 for value in self.std):
            raise ManifestError(f'input.std must be positive, got {list(self.std)}')
        names = [tap.name for tap in self.taps]
        if not names or len(set(names)) != len(names) or self.logits in names:
            raise ManifestError(f"taps must be one or more outputs with different names, none "
                                f"of them the logits '{self.logits}', got {names}")


def sha256_of(path: Path) -> str:
    """Hash a file; raises `OSError` when it cannot be read."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


_REQUIRED = object()


class _Reader:
    """Reads typed values of one JSON object and names the key in every complaint."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ManifestError(f'{where} must be an object, got {type(data).__name__}')
        self._data, self._where = data, where

    def get(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        if key not in self._data:
            if default is _REQUIRED:
                raise ManifestError(f"{self._where} lacks '{key}'")
            return default
        return _typed(self._data[key], kind, f'{self._where}: {key}')

    def positive(self, key: str) -> int:
        value = self.get(key, int)
        if not 0 < value <= 1 << 24:
            raise ManifestError(f'{self._where}: {key} must be in [1, {1 << 24}], got {value}')
        return int(value)

    def tuple_of(self, key: str, kind: type) -> tuple[Any, ...]:
        values = self.get(key, list)
        return tuple(_typed(value, kind, f'{self._where}: {key}[{i}]')
                     for i, value in enumerate(values))


def _typed(value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError as error:
            raise ManifestError(f'{where} must be finite, got an integer of '
                                f'{value.bit_length()} bits') from error
    if type(value) is not kind:
        raise ManifestError(f'{where} must be {kind.__name__}, got {value!r}')
    if isinstance(value, float) and not math.isfinite(value):
        raise ManifestError(f'{where} must be finite, got {value!r}')
    if isinstance(value, str) and any('\ud800' <= letter <= '\udfff' for letter in value):
        raise ManifestError(f'{where} must be UTF-8, got {value!r}')  # messages carry no other
    return value
