"""What the demo's nodes must agree on; config/demo.yaml gives it to all of them."""

from __future__ import annotations

from dataclasses import dataclass

from instantft_ros.demo.belt import Belt, Drift
from instantft_ros.nodes.parameters import parameter


@dataclass(frozen=True)
class WorldParameters:
    """The parameters `world.*`; times in seconds since the first frame."""

    seed: int = parameter(1, 'seed of garments, noise and operator', low=0, high=2**31 - 1)
    rate_hz: float = parameter(30.0, 'frames a second', low=1.0, high=200.0)
    dwell: int = parameter(5, 'frames that a garment stays under the camera', low=1, high=1000)
    duration_s: float = parameter(65.0, 'how long the belt runs', low=1.0, high=86_400.0)
    drift_start_s: float = parameter(8.0, 'when the drift begins', low=0.0, high=86_400.0)
    drift_end_s: float = parameter(18.0, 'when it has come to its full extent', low=0.0,
                                   high=86_400.0)
    tilt_deg: float = parameter(75.0, 'tilt of the garments at the end of the drift, degrees',
                                low=-180.0, high=180.0)
    gain: float = parameter(0.75, 'factor on the brightness at the end of the drift', low=0.05,
                            high=4.0)
    noise: float = parameter(12.0, 'added sensor noise at the end of the drift, grey levels',
                             low=0.0, high=100.0)
    operator_start_s: float = parameter(22.0, 'when the operator begins to correct', low=0.0,
                                        high=86_400.0)

    def belt(self) -> Belt:
        """Build the world that these parameters describe."""
        drift = Drift(self.drift_start_s, self.drift_end_s, self.tilt_deg, self.gain, self.noise)
        return Belt(self.seed, drift, self.rate_hz, self.dwell)

    @property
    def frames(self) -> int:
        """How many frames the camera publishes in all."""
        return int(self.duration_s * self.rate_hz)
