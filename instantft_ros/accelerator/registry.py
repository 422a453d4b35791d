"""The one place where backends have names."""

from __future__ import annotations

from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.kv260 import Kv260Backend
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.accelerator.sim import SimBackend
from instantft_ros.core.errors import AcceleratorError

BACKENDS: dict[str, type[Accelerator]] = {
    'cpu': CpuBackend,
    'kv260': Kv260Backend,
    'numpy': NumpyReference,
    'sim': SimBackend,
}


def create(name: str) -> Accelerator:
    """Build a backend by name; raises `AcceleratorError` when it is unknown or cannot run here."""
    if name not in BACKENDS:
        raise AcceleratorError(f"backend must be one of {sorted(BACKENDS)}, got '{name}'")
    return BACKENDS[name]()
