"""
A process that computes at the trainer's niceness, now and then: nothing of ours, to compare with.

What a prediction loses to it, it loses to any work on this machine.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from instantft_ros.nodes.own_trainer import NICENESS


def main() -> None:
    """Say `ready`, then compute and rest in turns until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('busy_s', type=float, help='to compute at a time, seconds')
    parser.add_argument('rest_s', type=float, help='to rest in between, seconds')
    parser.add_argument('total_s', type=float, help='to go on for, seconds')
    args = parser.parse_args()
    os.nice(NICENESS)
    a, b = np.full(4096, 0.5, np.float32), np.empty(4096, np.float32)
    print('ready', flush=True)
    end_s = time.monotonic() + args.total_s
    while time.monotonic() < end_s:
        rest_at_s = time.monotonic() + args.busy_s
        while time.monotonic() < rest_at_s:
            for _ in range(50):  # 20 us: the clock is read seldom
                np.multiply(a, a, out=b)
        time.sleep(args.rest_s)


if __name__ == '__main__':
    main()
