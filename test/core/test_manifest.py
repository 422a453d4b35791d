import copy
import json

import pytest

from instantft_ros.core.errors import ManifestError
from instantft_ros.core.manifest import Manifest
from instantft_ros.models import DEFAULT_MANIFEST

GOOD = json.loads(DEFAULT_MANIFEST.read_text())


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(GOOD)
    *parents, last = path.split('.')
    place = data
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    key = int(last) if last.isdigit() else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return data


def test_round_trip():
    manifest = Manifest.from_dict(GOOD)
    assert manifest.to_dict() == GOOD
    assert manifest.tap_sizes == (784, 864, 256, 120, 84)


@pytest.mark.parametrize(('path', 'value', 'words'), [
    ('format', 2, 'format 2'),
    ('name', None, "lacks 'name'"),
    ('network', '../other.onnx', 'without a folder'),
    ('network', 'a\0b', 'without a folder'),
    ('replay', 'a\0b', 'without a folder'),
    ('sha256', 'abc', '64 hexadecimal'),
    ('classes', ['a'], 'two or more'),
    ('classes', ['a', 'a'], 'different'),
    ('classes', [1, 2], 'must be str'),
    ('input.width', 0, 'width must be in'),
    ('input.width', 1 << 30, 'width must be in'),
    ('input.width', 28.0, 'must be int'),
    ('input.width', True, 'must be int'),
    ('input.colour', 'grey', "got 'grey'"),
    ('input.mean', [0.0, 0.0], '1 values'),
    ('input.std', [0.0], 'positive'),
    ('input.std', [float('nan')], 'finite'),
    ('input.mean', [10**400], 'finite'),
    ('classes', ['a', '\ud800'], 'UTF-8'),
    ('sha256', '\ud800', 'UTF-8'),
    ('taps', [], 'one or more'),
    ('taps.0.size', -1, 'size must be in'),
    ('taps.0.name', 'logits', 'logits'),
    ('taps.0', 7, 'must be an object'),
])
def test_each_mistake_is_named(path, value, words):
    with pytest.raises(ManifestError, match=words):
        Manifest.from_dict(changed(path, value))


@pytest.mark.parametrize('text', [
    '', '[]', '{', '\x00\xff', '{"format": 1}', '[' * 100_000,
    f'{{"format": {"1" * 5000}}}'], ids=range(7))
def test_files_that_are_no_manifest(tmp_path, text):
    path = tmp_path / 'manifest.json'
    path.write_text(text)
    with pytest.raises(ManifestError, match=r'manifest\.json'):
        Manifest.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(ManifestError, match='cannot read'):
        Manifest.load(tmp_path / 'none.json')
