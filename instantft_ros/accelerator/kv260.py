"""The accelerator on a KV260. Not verified on a board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
import time

from instantft_ros.accelerator.base import CacheMirror, OnEpoch, Trained
from instantft_ros.accelerator.driver import PynqAccelerator
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.core.errors import AcceleratorError

#: The overlay that hw/vivado builds; its .hwh lies beside it.
BITSTREAM = Path('/usr/local/share/instantft_ros/instantft.bit')

#: The core's name in the overlay's block design.
CORE = 'instantft_0'

#: The power monitor of the K26 module, as its hwmon driver names it.
POWER_SENSOR = 'ina260_u14'

HWMON = Path('/sys/class/hwmon')


class Kv260Backend(PynqAccelerator):
    """
    The core in the programmable logic of a KV260, through pynq; needs root.

    Raises `AcceleratorError` when pynq, the overlay or the board is missing.
    """

    name = 'kv260'

    def __init__(self, bitstream: Path = BITSTREAM, timeout_s: float = 1.0) -> None:
        try:
            from pynq import Overlay
        except ImportError as error:
            raise AcceleratorError(f'kv260: pynq is not installed here: {error}') from error
        if not bitstream.exists():
            raise AcceleratorError(f'kv260: there is no overlay {bitstream} (hw/vivado)')
        try:
            self._overlay = Overlay(str(bitstream))
            address = self._overlay.ip_dict[CORE]['phys_addr']
        except Exception as error:  # pynq raises many kinds when there is no board, root or XRT
            raise AcceleratorError(f'kv260: the overlay cannot be loaded: '
                                   f'{type(error).__name__}: {error}') from error
        self._power = find_power_sensor()
        super().__init__(self._overlay.device, address, timeout_s)

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        """
        Train, and estimate the energy where there is a sensor.

        The sensor averages over longer than a job takes, so this is its mean power, read before
        and after, times the time.
        """
        before, started = read_power_w(self._power), time.perf_counter()
        trained = super()._train(cache, job, on_epoch)
        power = (before + read_power_w(self._power)) / 2
        return dataclasses.replace(trained, energy_j=power * (time.perf_counter() - started))


def find_power_sensor(hwmon: Path = HWMON) -> Path | None:
    """Give the file that reads the module's power in microwatts, or None."""
    for name in sorted(hwmon.glob('hwmon*/name')):
        if name.read_text().strip() == POWER_SENSOR:
            return name.parent / 'power1_input'
    return None


def read_power_w(sensor: Path | None) -> float:
    """Read the power in watts; NaN where it cannot be read."""
    if sensor is None:
        return float('nan')
    try:
        return int(sensor.read_text()) * 1e-6
    except (OSError, ValueError):
        return float('nan')
