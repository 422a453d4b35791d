"""The accelerator's RTL in simulation, driven by the driver of the board."""

from __future__ import annotations

from pathlib import Path

from instantft_ros.accelerator.driver import PynqAccelerator
from instantft_ros.accelerator.rtl_model import RtlModel
from instantft_ros.core.errors import AcceleratorError


class SimBackend(PynqAccelerator):
    """
    The core in simulation, cycle by cycle.

    library: the compiled model; None builds it when needed. Raises `AcceleratorError` when pynq
    or what is needed to build is missing.
    """

    name = 'sim'

    def __init__(self, library: Path | None = None, timeout_s: float = 600.0) -> None:
        try:
            from instantft_ros.accelerator.sim_device import REGISTER_BASE, SimDevice
        except ImportError as error:
            raise AcceleratorError(f'sim: the driver needs pynq: {error}') from error
        self.model = RtlModel(library)
        super().__init__(SimDevice(self.model), REGISTER_BASE, timeout_s, poll_s=0.0)

    def close(self) -> None:
        """Free the buffers and the model."""
        super().close()
        self.model.close()
