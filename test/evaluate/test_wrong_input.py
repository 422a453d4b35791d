"""Whatever comes, there is one line that says what is wrong, or the frames that could be read."""

import json
from pathlib import Path
import shutil
import sys

import pytest

from instantft_ros.__main__ import main
from instantft_ros.evaluate import interfaces

FRAMES = 12


@pytest.fixture(scope='module')
def messages(recording) -> list:
    return [each for index in range(FRAMES) for each in (
        recording.image(index), recording.truth(index), recording.correction(index, 0.5))]


def refused(capsys, *arguments) -> str:
    """Check that the command ends with 1 and one line, and give that."""
    assert main(['evaluate', *map(str, arguments)]) == 1
    error: str = capsys.readouterr().err
    assert error.startswith('instantft evaluate: ') and error.count('\n') == 1
    return error


@pytest.mark.parametrize('share', [0.0, 0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_torn_bags(recording, messages, storage, share, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages, storage)
    (file,) = (each for each in bag.iterdir() if each.suffix in ('.db3', '.mcap'))
    data = file.read_bytes()
    file.write_bytes(data[:int(len(data) * share)])
    error = refused(capsys, bag, '--out', tmp_path)
    assert 'cannot be read' in error or 'is torn' in error
    assert not (tmp_path / 'evaluation.json').exists()


def test_a_bag_with_fewer_messages_than_it_says(recording, messages, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    shorter = recording.write(tmp_path / 'shorter', messages[:-3])
    shutil.copy(shorter / 'shorter.db3', bag / 'bag.db3')
    assert 'only 33 are there' in refused(capsys, bag, '--out', tmp_path)


def test_metadata(recording, messages, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')
    assert 'cannot be read as a bag' in refused(capsys, bag)
    (bag / 'metadata.yaml').unlink()
    assert 'ros2 bag reindex' in refused(capsys, bag)


def test_what_is_no_recording(tmp_path, capsys):
    assert 'does not exist' in refused(capsys, tmp_path / 'nothing')
    assert 'has no images' in refused(capsys, tmp_path)
    assert 'has no topics' in refused(capsys, tmp_path, '--images', 'image_raw')
    (tmp_path / 'notes.txt').write_text('no bag')
    assert 'cannot be read as a bag' in refused(capsys, tmp_path / 'notes.txt')


def test_empty_bags(recording, messages, tmp_path, capsys):
    assert 'it has no topics' in refused(capsys, recording.write(tmp_path / 'empty', []))
    no_images = [each for each in messages if each.topic != recording.images]
    error = refused(capsys, recording.write(tmp_path / 'a', no_images))
    assert 'no topic with images' in error and '/corrections' in error
    no_truth = [each for each in messages if each.topic == recording.images]
    assert 'nothing to judge by' in refused(capsys, recording.write(tmp_path / 'b', no_truth))


def test_wrong_topics(recording, messages, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    error = refused(capsys, bag, '--images', '/camera')
    assert 'has no topic /camera' in error and recording.images in error
    assert 'must carry sensor_msgs' in refused(capsys, bag, '--images', 'corrections')
    assert 'must carry instantft_ros/msg/Correction' in refused(
        capsys, bag, '--corrections', recording.images)
    assert 'has no topic /truth' in refused(capsys, bag, '--ground-truth', 'truth')


def test_corrections_that_name_no_frame(recording, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', [
        recording.image(0), recording.correction(0, 1, stamp=recording.stamp(9))])
    assert 'no frame can be judged' in refused(capsys, bag, '--out', tmp_path)


@pytest.mark.parametrize(('changes', 'words'), [
    ({'encoding': 'rgb9'}, "'rgb9' is not known"),
    ({'width': 2**32 - 1}, 'width and height'),
    ({'height': 2**31, 'width': 1}, 'width and height'),
    ({'step': 2**32 - 1}, 'data has'),
])
def test_images_that_are_none(recording, messages, changes, words, tmp_path, capsys):
    """Alone they are refused, among others they are counted."""
    broken = recording.image(2, **changes)
    alone = recording.write(tmp_path / 'alone', [broken, recording.correction(2, 1)])
    assert words in refused(capsys, alone, '--out', tmp_path)
    others = [each for each in messages if each.message != broken.message]
    counted(recording.write(tmp_path / 'bag', [*others, broken]), tmp_path, words)


def test_a_damaged_message(recording, messages, tmp_path):
    image, correction, truth = messages[3], messages[5], messages[4]
    for name, damaged in (('image', image), ('correction', correction), ('truth', truth)):
        data = bytes(recording.store.serialize_cdr(damaged.message, damaged.kind))
        extra = [type(damaged)(damaged.topic, damaged.kind, damaged.time_ns, each)
                 for each in (data[:len(data) // 2], b'', b'\xff' * len(data))]
        bag = recording.write(tmp_path / name, messages + extra)
        out = tmp_path / f'{name}_out'
        assert main(['evaluate', str(bag), '--out', str(out)]) == 0
        result = json.loads((out / 'evaluation.json').read_text())
        reasons = {'image': 'frames_rejected', 'correction': 'corrections_refused',
                   'truth': 'ground_truth_unusable'}
        assert sum(result['reasons'][reasons[name]].values()) == 3
        assert result['frames']['judged'] == FRAMES


def counted(bag: Path, out: Path, words: str) -> None:
    assert main(['evaluate', str(bag), '--out', str(out)]) == 0
    result = json.loads((out / 'evaluation.json').read_text())
    assert result['frames']['rejected'] == 1
    assert words in next(iter(result['reasons']['frames_rejected']))


def test_a_region_outside_the_images(recording, messages, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    error = refused(capsys, bag, '--region', 60, 0, 100, 100, '--out', tmp_path)
    assert 'does not lie inside an image of 112 x 112' in error


def test_another_version_of_the_messages(recording, messages, tmp_path, capsys):
    from rosbags.rosbag2 import Writer
    with Writer(tmp_path / 'bag', version=9) as writer:
        writer.add_connection(recording.images, interfaces.IMAGE, typestore=recording.store)
        writer.add_connection('/corrections', interfaces.CORRECTION, msgdef='string other\n',
                              rihs01='RIHS01_' + 64 * '0')
    assert 'another version of instantft_ros/msg/Correction' in refused(capsys, tmp_path / 'bag')


@pytest.mark.parametrize('arguments', [
    [], ['--rank', '0'], ['--rank', '65'], ['--rank', 'two'], ['--max-frames', '0'],
    ['--region', '1', '2', '3'], ['--backend', 'gpu']])
def test_wrong_arguments(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['evaluate', *([str(tmp_path)] if arguments else []), *arguments])
    assert ended.value.code == 2
    assert 'instantft evaluate: error: ' in capsys.readouterr().err


def test_wrong_files_beside_the_recording(recording, messages, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    assert 'cannot read the manifest' in refused(capsys, bag, '--manifest', tmp_path / 'none.json')
    (tmp_path / 'file').write_text('')
    assert 'file' in refused(capsys, bag, '--out', tmp_path / 'file')


@pytest.mark.parametrize('module', ['rosbags.rosbag2', 'matplotlib'])
def test_what_is_not_installed(recording, messages, module, monkeypatch, tmp_path, capsys):
    bag = recording.write(tmp_path / 'bag', messages)
    monkeypatch.setitem(sys.modules, module, None)
    package = module.split('.')[0]
    assert f'pip install {package}' in refused(capsys, bag, '--out', tmp_path)


def test_an_interruption(recording, messages, monkeypatch, tmp_path, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('instantft_ros.evaluate.replay.Replay.take', interrupted)
    bag = recording.write(tmp_path / 'bag', messages)
    assert main(['evaluate', str(bag), '--out', str(tmp_path)]) == 130
    assert capsys.readouterr().err == 'instantft evaluate: interrupted, nothing was written\n'
