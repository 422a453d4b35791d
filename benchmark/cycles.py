"""Clock cycles of the standard job in the simulated accelerator (needs the node's environment)."""

from __future__ import annotations

import json
from pathlib import Path
import sys

import numpy as np

from benchmark.jobs import job_of, Shape
from instantft_ros.accelerator import registry

CLOCK_HZ = 200e6


def main() -> None:
    """Run the job on the RTL and write what it counted."""
    backend = registry.create('sim')
    result = backend.fine_tune(job_of(Shape()))
    backend.close()
    assert np.isfinite(result.losses).all()
    Path(sys.argv[1]).write_text(json.dumps({
        'cycles': result.cycles, 'ms_at_200_mhz': 1e3 * result.cycles / CLOCK_HZ}) + '\n')


if __name__ == '__main__':
    main()
