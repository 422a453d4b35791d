"""How the accelerator's records, order and weights lie in memory (hw/doc/theory.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instantft_ros.accelerator import registers as hw

BEAT_BYTES = 16
BEAT_VALUES = BEAT_BYTES // 2

#: Groups of classes; B is stored for all of them, whatever the number of classes.
GROUPS = hw.MAX_CLASSES // hw.CLASS_LANES


def record_bytes(words: int, taps: int, classes: int) -> int:
    """Give the size of one record."""
    return BEAT_BYTES * (1 + _beats(taps) + _beats(classes)) + words * hw.LANES // 2


def weight_bytes(words: int, taps: int) -> int:
    """Give the size of the weights."""
    return 2 * hw.RANK * (words * hw.LANES + taps * hw.MAX_CLASSES)


def pack_records(slots: np.ndarray, codes: np.ndarray, scales: np.ndarray, logits: np.ndarray,
                 labels: np.ndarray) -> np.ndarray:
    """
    Pack samples into (M, record_bytes) uint8.

    slots (M,); codes (M, words * LANES) uint8, one code each; scales (M, K) uint16; logits
    (M, C) int16; labels (M,).
    """
    count, taps, classes = len(slots), scales.shape[1], logits.shape[1]
    scale_end = BEAT_VALUES * (1 + _beats(taps))
    side = np.zeros((count, scale_end + BEAT_VALUES * _beats(classes)), np.uint16)
    side[:, 0], side[:, 1] = slots, labels
    side[:, BEAT_VALUES:BEAT_VALUES + taps] = scales
    side[:, scale_end:scale_end + classes] = logits.view(np.uint16)
    packed = codes[:, 0::2] | codes[:, 1::2] << 4
    return np.concatenate([side.astype('<u2').view(np.uint8), packed], axis=1)


def pack_order(order: np.ndarray) -> np.ndarray:
    """Pack slots (N,) into whole beats, uint8."""
    padded = np.zeros(BEAT_VALUES * _beats(len(order)), '<u2')
    padded[:len(order)] = order
    return padded.view(np.uint8)


def pack_weights(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pack integer weights a (RANK, words * LANES) and b (C, K, RANK) into uint8."""
    full = np.zeros((GROUPS * hw.CLASS_LANES, b.shape[1], hw.RANK), np.int64)
    full[:len(b)] = b
    by_word = a.reshape(hw.RANK, -1, hw.LANES).transpose(1, 0, 2)
    by_group = full.reshape(GROUPS, hw.CLASS_LANES, -1, hw.RANK).transpose(2, 0, 3, 1)
    values = np.concatenate([by_word.ravel(), by_group.ravel()]).astype('<i2')
    return np.asarray(values.view(np.uint8))


def unpack_weights(data: np.ndarray, words: int, taps: int, classes: int,
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Give back integer weights a (RANK, words * LANES) and b (C, K, RANK), int64."""
    values = data.view('<i2').astype(np.int64)
    size = hw.RANK * words * hw.LANES
    a = values[:size].reshape(words, hw.RANK, hw.LANES).transpose(1, 0, 2)
    b = values[size:].reshape(taps, GROUPS, hw.RANK, hw.CLASS_LANES).transpose(1, 3, 0, 2)
    return (a.reshape(hw.RANK, -1),
            b.reshape(GROUPS * hw.CLASS_LANES, taps, hw.RANK)[:classes])


def split_address(address: int) -> tuple[int, int]:
    """Give a bus address's low and high register."""
    return address & 0xFFFFFFFF, address >> 32


def total_words(words: Sequence[int]) -> int:
    """Give the words of a sample."""
    return int(sum(words))


def _beats(values: int) -> int:
    return -(-values // BEAT_VALUES)
