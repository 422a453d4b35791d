"""Replay samples fill up the classes that nobody has corrected."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import ManifestError
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.core.replay import read_images, ReplaySet
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.training.replay import main as write_replay

BACKBONE = Backbone(DEFAULT_MANIFEST)
REPLAY = ReplaySet.load(BACKBONE, 8)
CAPACITY = 100


def test_the_shipped_network_has_samples_of_every_class():
    np.testing.assert_array_equal(np.bincount(REPLAY.labels), np.full(10, 8))
    assert (REPLAY.logits.argmax(axis=1) == REPLAY.labels).mean() > 0.75
    assert len(ReplaySet.load(BACKBONE, 0)) == 0


@given(st.lists(st.integers(0, 9), max_size=CAPACITY), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_each_class_gets_what_it_lacks(labels, seed):
    labels = np.array(labels, np.int64)
    order = np.random.default_rng(seed).permutation(CAPACITY)[:len(labels)].astype(np.int64)
    mixed = REPLAY.fill_up(order, labels, CAPACITY)
    assert mixed.dtype == np.int64 and len(np.unique(mixed)) == len(mixed)
    np.testing.assert_array_equal(mixed[mixed < CAPACITY], order)  # in their own order
    replayed = REPLAY.labels[mixed[mixed >= CAPACITY] - CAPACITY]
    corrected = np.bincount(labels, minlength=10)
    np.testing.assert_array_equal(np.bincount(replayed, minlength=10),
                                  np.maximum(8 - corrected, 0))


def test_replay_samples_are_spread_over_the_order():
    mixed = REPLAY.fill_up(np.arange(80), np.zeros(80, np.int64), CAPACITY)
    quarters = (mixed.reshape(4, -1) >= CAPACITY).sum(axis=1)
    assert quarters.sum() == 72 and quarters.max() - quarters.min() <= 3


def test_only_a_whole_cache_carries_the_samples():
    empty = np.zeros(0, np.int64)
    whole, change = (REPLAY.extend(CacheUpdate(
        's', base, base + 1, CAPACITY, empty, REPLAY.codes[:0], REPLAY.scales[:0],
        REPLAY.logits[:0], empty)) for base in (0, 1))
    assert whole.capacity == change.capacity == CAPACITY + 80
    np.testing.assert_array_equal(whole.slots, np.arange(CAPACITY, CAPACITY + 80))
    assert len(whole.codes) == len(whole.labels) == 80 and len(change.slots) == 0


@pytest.mark.parametrize(('arrays', 'words'), [
    ({'images': np.zeros((2, 28, 28), np.float32), 'labels': np.zeros(2, np.int64)}, 'uint8'),
    ({'images': np.zeros((2, 28, 28), np.uint8), 'labels': np.zeros(3, np.int64)}, r'\(R,\)'),
    ({'images': np.zeros((2, 28, 28), np.uint8), 'labels': np.full(2, 10)}, r'\[0, 10\)'),
    ({'images': np.zeros((2, 28, 28), np.uint8)}, 'not a replay file'),
    ({'images': np.zeros((2, 28, 28, 4), np.uint8), 'labels': np.zeros(2, np.int64)}, 'H, W, 3'),
    ({'images': np.zeros((2, 0, 28), np.uint8), 'labels': np.zeros(2, np.int64)}, 'uint8'),
])
def test_files_that_are_no_replay_set_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / 'replay.npz', **arrays)
    with pytest.raises(ManifestError, match=words):
        read_images(tmp_path / 'replay.npz', 10)


def test_a_torn_or_missing_file_is_named(tmp_path):
    (tmp_path / 'replay.npz').write_bytes(b'PK\x03\x04torn')
    for name in ('replay.npz', 'missing.npz'):
        with pytest.raises(ManifestError, match=name):
            read_images(tmp_path / name, 10)


def test_a_folder_of_images_becomes_the_replay_set(tmp_path, capsys):
    import cv2
    for name in ('manifest.json', 'model.onnx'):
        (tmp_path / name).write_bytes((DEFAULT_MANIFEST.parent / name).read_bytes())
    for label in BACKBONE.manifest.classes:
        (tmp_path / 'photos' / label).mkdir(parents=True)
        for index in range(3):
            cv2.imwrite(str(tmp_path / 'photos' / label / f'{index}.png'),
                        np.full((50, 40, 3), 40 * index, np.uint8))
    assert write_replay([str(tmp_path / 'manifest.json'), str(tmp_path / 'photos')]) == 0
    assert '30 images' in capsys.readouterr().out
    replay = ReplaySet.load(Backbone(tmp_path / 'manifest.json'), 2)
    np.testing.assert_array_equal(np.bincount(replay.labels), np.full(10, 2))
    (tmp_path / 'photos' / 'bag' / '0.png').write_bytes(b'no image')
    with pytest.raises(SystemExit):
        write_replay([str(tmp_path / 'manifest.json'), str(tmp_path / 'photos')])
    assert 'not an image' in capsys.readouterr().err
