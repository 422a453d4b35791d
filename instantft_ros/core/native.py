"""
The native library of native/, which the build puts beside this package.

Where none was built (no compiler was there) `load` gives None and the callers use NumPy.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    CFUNCTYPE,
    POINTER,
    pointer,
)
from functools import cache
from pathlib import Path

import numpy as np

import instantft_ros

FILE = 'libinstantft_native.so'
ABI = 5

OK, CANCELLED, UNKNOWN, NO_MEMORY = range(4)
OPTIMIZERS = {'sgd': 0, 'momentum': 1, 'adam': 2}

ON_EPOCH = CFUNCTYPE(c_int, c_int32, c_double)


class Job(ctypes.Structure):
    """`instantft_job` of native/instantft_native.h; the fields are explained there."""

    _fields_ = (
        ('taps', c_int32), ('classes', c_int32), ('rank', c_int32),
        ('tap_sizes', ctypes.c_void_p), ('codes', ctypes.c_void_p), ('row_bytes', c_int64),
        ('scales', ctypes.c_void_p), ('logits', ctypes.c_void_p), ('labels', ctypes.c_void_p),
        ('codebook', ctypes.c_void_p), ('order', ctypes.c_void_p), ('samples', c_int64),
        ('epochs', c_int32), ('batch_size', c_int32), ('optimizer', c_int32),
        ('rates', ctypes.c_void_p), ('beta1', c_float), ('beta2', c_float),
        ('epsilon', c_float), ('weight_decay', c_float), ('logit_scale', c_float),
        ('class_offsets', ctypes.c_void_p), ('threads', c_int32), ('a', ctypes.c_void_p),
        ('b', ctypes.c_void_p), ('losses', ctypes.c_void_p), ('on_epoch', ON_EPOCH),
        ('stop', ctypes.c_void_p))


class Library:
    """The functions of one loaded library."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        if (found := self._library.instantft_abi()) != ABI:  # first: others may lack functions
            raise OSError(f'{path} has interface {found}, wanted {ABI}: build again')
        self._library.instantft_variants.restype = c_char_p
        self._library.instantft_train.argtypes = (POINTER(Job), c_char_p)
        self._library.instantft_apply.argtypes = (POINTER(Job), c_char_p, ctypes.c_void_p)
        self._library.instantft_quantize.argtypes = (
            ctypes.c_void_p, ctypes.c_void_p, c_int32, ctypes.c_void_p, ctypes.c_void_p,
            ctypes.c_void_p)
        self._library.instantft_quantize.restype = c_int32
        #: The instruction sets that this processor runs, best first.
        self.variants: tuple[str, ...] = tuple(
            self._library.instantft_variants().decode().split())

    def train(self, job: Job, variant: str) -> int:
        """Train; other threads of Python run meanwhile."""
        return int(self._library.instantft_train(pointer(job), variant.encode()))

    def apply(self, job: Job, variant: str, logits: np.ndarray) -> int:
        """Write the adapted logits (samples, C) float32 of the samples in the job's order."""
        return int(self._library.instantft_apply(pointer(job), variant.encode(),
                                                 logits.ctypes.data))

    def quantize(self, x: np.ndarray, tap_sizes: np.ndarray, midpoints: np.ndarray,
                 codes: np.ndarray, scales: np.ndarray) -> int:
        """Quantize one frame; -1, or the first tap that holds NaN or infinity."""
        return int(self._library.instantft_quantize(
            x.ctypes.data, tap_sizes.ctypes.data, len(tap_sizes), midpoints.ctypes.data,
            codes.ctypes.data, scales.ctypes.data))


def job_of(adapter_a: np.ndarray, adapter_b: np.ndarray, tap_sizes: np.ndarray,
           codes: np.ndarray, scales: np.ndarray, logits: np.ndarray, codebook: np.ndarray,
           order: np.ndarray, **rest: object) -> Job:
    """
    Point a job at arrays, which must outlive it; raises ValueError where one is not contiguous.

    adapter_a (r, D) and adapter_b (C, K, r) float32, tap_sizes (K,) int32, a cache as in
    `CacheUpdate`, order (N,) int64.
    """
    if not all(each.flags.c_contiguous for each in (adapter_a, adapter_b, tap_sizes, codes, scales,
                                                    logits, codebook, order)):
        raise ValueError('native code takes arrays in C order only')
    return Job(taps=len(tap_sizes), classes=adapter_b.shape[0], rank=adapter_a.shape[0],
               tap_sizes=tap_sizes.ctypes.data, codes=codes.ctypes.data,
               row_bytes=codes.shape[1], scales=scales.ctypes.data, logits=logits.ctypes.data,
               codebook=codebook.ctypes.data, order=order.ctypes.data, samples=len(order),
               a=adapter_a.ctypes.data, b=adapter_b.ctypes.data, **rest)


@cache
def load() -> Library | None:
    """Load the library that was built with this package; None where there is none."""
    for folder in instantft_ros.__path__:  # a checkout and, with ROS, what was installed
        path = Path(folder) / 'lib' / FILE
        if path.is_file():
            return Library(path)
    return None
