"""Folders of images, and the operator that is simulated for them."""

import csv
import json

import cv2
import pytest

from instantft_ros.__main__ import main
from instantft_ros.core.corrections import Selector
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.core.manifest import Manifest
from instantft_ros.evaluate.simulated_operator import OperatorPolicy, SimulatedOperator
from instantft_ros.models import DEFAULT_MANIFEST

FRAMES = 150
CLASSES = Manifest.load(DEFAULT_MANIFEST).classes


@pytest.fixture(scope='module')
def by_class(recording, tmp_path_factory):
    """One subfolder per class; the file names give the order."""
    folder = tmp_path_factory.mktemp('images')
    for index in range(FRAMES):
        file = folder / CLASSES[recording.belt.label(index)] / f'{index:04d}.png'
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), recording.pixels(index))
    return folder


def evaluate(folder, out, *arguments) -> tuple[dict, list[dict]]:
    assert main(['evaluate', str(folder), '--out', str(out), *arguments]) == 0
    with (out / 'predictions.csv').open() as stream:
        return json.loads((out / 'evaluation.json').read_text()), list(csv.DictReader(stream))


def test_subfolders(recording, by_class, tmp_path):
    result, rows = evaluate(by_class, tmp_path)
    assert [row['label'] for row in rows] == [
        CLASSES[recording.belt.label(index)] for index in range(FRAMES)]
    assert [float(row['position']) for row in rows] == list(range(FRAMES))
    since = result['accuracy_since_first_adapter']
    assert since['adapted'] > since['frozen'] + 10
    # the first wrong one is corrected five frames later, so the sixth knows it
    wrong = next(i for i, row in enumerate(rows) if row['frozen'] != row['label'])
    assert [int(row['version'] != '0') for row in rows] == (
        [0] * (wrong + 5) + [1] * (FRAMES - wrong - 5))


def test_a_table_of_labels_gives_the_same(by_class, tmp_path):
    _, expected = evaluate(by_class, tmp_path / 'a')
    files = sorted(by_class.glob('*/*.png'), reverse=True)
    (tmp_path / 'labels.csv').write_text('label,file\n' + ''.join(
        f'{file.parent.name},{file}\n' for file in files))
    _, rows = evaluate(tmp_path, tmp_path / 'b')
    assert rows == expected


def test_a_broken_image_is_rejected_and_the_others_count(by_class, tmp_path, capsys):
    files = sorted(by_class.glob('*/*.png'), key=lambda file: file.name)[:10]
    rows = [f'{file},{file.parent.name}' for file in files]
    (tmp_path / '0003.png').write_bytes(files[3].read_bytes()[:60])
    rows[3] = f'0003.png,{files[3].parent.name}'
    rows[4] = f'missing.png,{files[4].parent.name}'
    (tmp_path / 'labels.csv').write_text('\n'.join(['file,label', *rows]))
    result, judged = evaluate(tmp_path, tmp_path / 'out')
    assert result['frames'] == {'read': 10, 'classified': 8, 'rejected': 2, 'repeated_stamps': 0,
                                'judged': 8}
    assert len(judged) == 8
    shown = capsys.readouterr().out
    assert '0003.png' in shown and 'missing.png' in shown


def test_fewer_corrections(by_class, tmp_path):
    result, _ = evaluate(by_class, tmp_path, '--frames-per-correction', '10',
                         '--reaction-frames', '1')
    assert 5 < result['corrections']['received'] <= FRAMES / 10
    assert result['corrections']['refused'] == 0


@pytest.mark.parametrize(('table', 'words'), [
    ('file,label\na.png,spoon\n', "label 'spoon'"),
    ('file,class\na.png,bag\n', 'columns file and label'),
    ('file,label\n', 'has no images'),
    ('file,label\na.png,bag\n', 'no image could be classified'),
    ('file,label\n\0,bag\n', 'no image could be classified'),
    (b'\xff\xfe\xff', 'cannot be read'),
])
def test_wrong_tables_are_refused_in_one_line(table, words, tmp_path, capsys):
    (tmp_path / 'labels.csv').write_bytes(table if isinstance(table, bytes) else table.encode())
    assert main(['evaluate', str(tmp_path), '--out', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and words in error


def test_a_subfolder_that_is_no_class_is_refused(tmp_path, capsys):
    (tmp_path / 'Bag').mkdir()
    cv2.imwrite(str(tmp_path / 'Bag' / '1.png'), cv2.UMat(8, 8, cv2.CV_8U).get())
    assert main(['evaluate', str(tmp_path), '--out', str(tmp_path / 'out')]) == 1
    assert "label 'Bag'" in capsys.readouterr().err


def test_the_operator_reacts_and_rests():
    operator = SimulatedOperator('view', OperatorPolicy(3, 2))
    corrected = []
    for number in range(10):
        corrected += [(number, each.first_ns) for each in operator.due(number)]
        operator.saw(number, FrameId('view', number), predicted=0, label=int(number in (1, 2, 3)))
    assert corrected == [(4, 1), (6, 3)]


def test_the_operator_names_the_frame_and_its_class():
    operator = SimulatedOperator('view', OperatorPolicy(0, 1))
    operator.saw(0, FrameId('view', 7), predicted=0, label=4)
    (correction,) = operator.due(1)
    assert (correction.selector, correction.first_ns, correction.label) == (Selector.STAMP, 7, 4)
