"""A pynq device whose registers and memory are those of the compiled RTL."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device

from instantft_ros.accelerator.rtl_model import RtlModel
from instantft_ros.core.errors import AcceleratorError

REGISTER_BASE = 0xA000_0000
_PAGE = 4096


class SimDevice(Device):  # type: ignore[misc]
    """
    pynq's own seam for devices: register access and buffers.

    Simulated time passes only in register accesses: each read takes `cycles_per_read` clock
    cycles, as if the processor looked that seldom.
    """

    capabilities: ClassVar = {'REGISTER_RW': True}

    def __init__(self, model: RtlModel, cycles_per_read: int = 2000) -> None:
        super().__init__('instantft-simulation')
        self.model = model
        self.cycles_per_read = cycles_per_read
        self._allocated = 0

    def has_capability(self, cap: str) -> bool:
        """Tell pynq how registers are reached."""
        return bool(self.capabilities.get(cap, False))

    def read_registers(self, address: int, length: int) -> bytes:
        """Read whole registers."""
        self.model.step(self.cycles_per_read)
        return b''.join(self.model.read(address - REGISTER_BASE + offset).to_bytes(4, 'little')
                        for offset in range(0, length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        """Write whole registers."""
        for offset in range(0, len(data), 4):
            self.model.write(address - REGISTER_BASE + offset,
                             int.from_bytes(bytes(data[offset:offset + 4]), 'little'))

    def allocate(self, shape: tuple[int, ...], dtype: Any, **kwargs: Any) -> PynqBuffer:
        """Give a buffer in the model's memory, page aligned as on the board."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        start = self._allocated
        if start + size > len(self.model.memory):
            raise AcceleratorError(f'the simulated memory has no {size} bytes left')
        self._allocated = start + -(-size // _PAGE) * _PAGE
        return PynqBuffer(shape, dtype, buffer=self.model.memory.data, offset=start, device=self,
                          device_address=self.model.base + start, coherent=False)

    def flush(self, bo: Any, offset: int, ptr: int, size: int) -> None:
        """Do nothing: the model reads the host's memory."""

    def invalidate(self, bo: Any, offset: int, ptr: int, size: int) -> None:
        """Do nothing: the model writes the host's memory."""
