from contextlib import suppress
from dataclasses import replace
import io
import zipfile

import numpy as np
import pytest

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.features import FeatureLayout

LAYOUT = FeatureLayout((5, 7), 3)
BACKBONE = 'ab' * 32


def trained(seed: int = 1) -> Adapter:
    start = Adapter.initial(LAYOUT, BACKBONE, rank=2, seed=seed)
    rng = np.random.default_rng(seed)
    return Adapter(LAYOUT, start.a, rng.normal(size=start.b.shape).astype(np.float32), BACKBONE)


def test_fresh_adapter_leaves_the_logits_alone():
    z0 = np.array([1.0, -2.0, 3.0], np.float32)
    adapter = Adapter.initial(LAYOUT, BACKBONE)
    np.testing.assert_array_equal(adapter(np.ones(12, np.float32), z0), z0)


def test_logits_follow_the_formula():
    adapter = trained()
    x = np.random.default_rng(2).normal(size=(4, 12)).astype(np.float32)
    z0 = np.zeros((4, 3), np.float32)
    expected = sum(x[:, tap] @ (adapter.b[:, k] @ adapter.a[:, tap]).T
                   for k, tap in enumerate(LAYOUT.slices))
    np.testing.assert_allclose(adapter(x, z0), expected, rtol=1e-5)
    np.testing.assert_allclose(adapter(x[1], z0[1]), expected[1], rtol=1e-5)


def test_weights_cannot_be_changed_from_outside():
    a = np.zeros((2, 12), np.float32)
    adapter = Adapter(LAYOUT, a, np.zeros((3, 2, 2), np.float32), BACKBONE)
    a[0, 0] = 7.0
    assert adapter.a[0, 0] == 0.0
    with pytest.raises(ValueError, match='read-only'):
        adapter.a[0, 0] = 1.0


def test_weights_lie_in_memory_as_native_code_reads_them():
    plain = trained()
    turned = Adapter(LAYOUT, np.asfortranarray(plain.a), np.asfortranarray(plain.b), BACKBONE)
    assert turned.a.flags.c_contiguous and turned.b.flags.c_contiguous
    assert turned.digest() == plain.digest()


def test_the_frozen_logits_are_scaled():
    adapter = replace(trained(), logit_scale=0.25)
    x = np.random.default_rng(2).normal(size=(4, 12)).astype(np.float32)
    z0 = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(adapter(x, z0), trained()(x, 0.25 * z0), rtol=1e-6)
    assert adapter.with_classes(5).logit_scale == 0.25


@pytest.mark.parametrize('scale', [np.nan, -0.1, 3.0])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(AdapterError, match='logit_scale'):
        replace(trained(), logit_scale=scale)


@pytest.mark.parametrize('scale', [0.0, 0.3125, 1.0])
def test_serialization_is_exact(scale):
    adapter = replace(trained(), logit_scale=scale)
    back = Adapter.from_bytes(adapter.to_bytes())
    assert back.layout == adapter.layout
    assert back.digest() == adapter.digest()
    assert back.logit_scale == scale
    assert (adapter.digest() == trained().digest()) == (scale == 1.0)


def test_files_of_format_1_are_read_as_they_were_meant():
    with np.load(io.BytesIO(trained().to_bytes())) as good:
        stream = io.BytesIO()
        np.savez(stream, **{**{name: good[name] for name in good if name != 'logit_scale'},
                            'format': np.int64(1)})
    assert Adapter.from_bytes(stream.getvalue()).digest() == trained().digest()


def test_digest_tells_weights_and_backbones_apart():
    adapter = trained()
    other = Adapter(LAYOUT, adapter.a, adapter.b, 'cd' * 32)
    assert len({adapter.digest(), trained(2).digest(), other.digest()}) == 3


@pytest.mark.parametrize('weights', [np.nan, np.inf])
def test_not_finite_weights_are_refused(weights):
    with pytest.raises(AdapterError, match='NaN or infinity'):
        Adapter(LAYOUT, np.full((2, 12), weights, np.float32), trained().b, BACKBONE)


def test_wrong_shapes_are_refused():
    with pytest.raises(AdapterError, match='shapes'):
        Adapter(LAYOUT, np.zeros((2, 11), np.float32), trained().b, BACKBONE)


def test_another_backbone_is_refused():
    with pytest.raises(AdapterError, match='backbone'):
        trained().check_backbone(LAYOUT, 'cd' * 32)
    with pytest.raises(AdapterError, match='wanted'):
        trained().check_backbone(FeatureLayout((5, 7), 4), BACKBONE)


def test_every_truncation_is_refused():
    data = trained().to_bytes()
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(AdapterError):
            Adapter.from_bytes(data[:length])


def test_flipped_bytes_never_give_a_different_adapter():
    adapter = trained()
    data = bytearray(adapter.to_bytes())
    for position in range(0, len(data), 3):
        data[position] ^= 0x5A
        with suppress(AdapterError):
            assert Adapter.from_bytes(bytes(data)).digest() == adapter.digest()
        data[position] ^= 0x5A


def test_pickles_are_not_read():
    stream = io.BytesIO()
    np.savez(stream, format=np.int64(1), a=np.array([{}], object), b=np.zeros(1),
             tap_sizes=np.array([1]), backbone=np.zeros(1, np.uint8))
    with pytest.raises(AdapterError, match='not an adapter file'):
        Adapter.from_bytes(stream.getvalue())


def test_a_file_that_unpacks_to_too_much_is_refused_unread():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', bytes(300 << 20))
    with pytest.raises(AdapterError, match='unpacks to'):
        Adapter.from_bytes(stream.getvalue())


def changed(**arrays: np.ndarray) -> bytes:
    """Give an adapter's file with some arrays replaced."""
    with np.load(io.BytesIO(trained().to_bytes())) as good:
        stream = io.BytesIO()
        np.savez_compressed(stream, **{**good, **arrays})
        return stream.getvalue()


@pytest.mark.parametrize(('arrays', 'words'), [
    ({'tap_sizes': np.array([-3, 15])}, 'tap_sizes'),
    ({'tap_sizes': np.array([0, 12])}, 'tap_sizes'),
    ({'tap_sizes': np.array([5.0, 7.0])}, 'tap_sizes'),
    ({'tap_sizes': np.zeros(100 << 20, np.int8)}, 'tap_sizes'),
    ({'b': np.zeros((0, 2, 2), np.float32)}, 'b must'),
    ({'b': np.zeros((3, 0, 2), np.float32), 'tap_sizes': np.zeros(0, np.int64)}, 'b must'),
    ({'backbone': np.frombuffer(b'\xff' * 64, np.uint8)}, 'backbone'),
    ({'backbone': np.frombuffer(b'ab' * 33, np.uint8)}, 'backbone'),
    ({'format': np.array([1, 1])}, 'format'), ({'format': np.int64(3)}, 'reads 1 to 2'),
    ({'logit_scale': np.float32(1.0)}, 'logit_scale'),
    ({'logit_scale': np.ones(2)}, 'logit_scale'),
], ids=range(12))
def test_arrays_that_are_no_adapter_are_refused(arrays, words):
    with pytest.raises(AdapterError, match=words):
        Adapter.from_bytes(changed(**arrays))


def test_memory_is_taken_only_for_what_the_file_holds():
    # found by fuzzing: NumPy takes the memory that the header in front declares, 1 TiB
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,)}\n"
    array = b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header
    try:
        Adapter.from_bytes(array + trained().to_bytes())
    except AdapterError as error:
        assert not isinstance(error.__cause__, MemoryError)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(AdapterError, match=r'nothing\.npz'):
        Adapter.load(tmp_path / 'nothing.npz')
