"""
Self-test of an accelerator: `python -m instantft_ros.accelerator.self_test [kv260 | sim]`.

Runs jobs of several shapes, cold, with an appended cache and warm, compares every weight and loss
with the golden model, and prints pass or fail with cycles and times.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from instantft_ros.accelerator.driver import PynqAccelerator
from instantft_ros.accelerator.golden import GoldenModel
from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult, Schedule
from instantft_ros.accelerator.kv260 import Kv260Backend
from instantft_ros.accelerator.sim import SimBackend
from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import InstantFTError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate

#: Tap sizes, classes, rank, samples, epochs.
CASES = (((784, 864, 256, 120, 84), 10, 4, 1024, 10), ((1,), 2, 1, 1, 1),
         ((100, 33, 64), 32, 3, 50, 4), ((256,) * 16, 17, 4, 64, 3), ((4096,), 10, 2, 300, 1))


def draw(layout: FeatureLayout, slots: np.ndarray, capacity: int, base: int, seed: int,
         ) -> CacheUpdate:
    """Draw samples whose classes can be told apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, layout.classes, len(slots))
    centres = np.random.default_rng(0).normal(size=(layout.classes, layout.dim))
    x = np.maximum(rng.normal(size=(len(slots), layout.dim)) + centres[labels], 0)
    codes, scales = nf4.quantize(x.astype(np.float32), layout.tap_sizes)
    logits = rng.normal(0, 3, (len(slots), layout.classes)).astype(np.float32)
    return CacheUpdate('self-test', base, base + 1, capacity, slots, codes, scales, logits,
                       labels)


def same(got: FineTuneResult, wanted: FineTuneResult) -> bool:
    """Tell whether every weight and loss is equal."""
    return got.adapter.digest() == wanted.adapter.digest() and got.losses == wanted.losses


def run(backend: PynqAccelerator) -> bool:
    """Run every case and print how it went."""
    passed = True
    for number, (sizes, classes, rank, samples, epochs) in enumerate(CASES):
        layout, golden = FeatureLayout(sizes, classes), GoldenModel()
        start = Adapter.initial(layout, '0' * 64, rank, seed=number)
        schedule = Schedule(epochs, learning_rate=min(0.02, 20 / sum(sizes)))
        known = np.arange((samples + 1) // 2)
        for what, slots, order in (('cold', known, known),
                                   ('appended', np.arange(len(known), samples),
                                    np.random.default_rng(number).permutation(samples)),
                                   ('warm', np.arange(0), np.arange(samples))):
            base = {'cold': 0, 'appended': 1, 'warm': 2}[what]
            job = FineTuneJob(draw(layout, slots, samples, base, number), start, order, schedule)
            result = backend.fine_tune(job)
            equal = same(result, golden.fine_tune(job))
            passed &= equal
            start = result.adapter
            cycles = ', '.join(f'{name} {count:,}' for name, count in backend.cycles().items())
            print(f"{'pass' if equal else 'FAIL'}: D {layout.dim}, taps {len(sizes)}, classes "
                  f'{classes}, rank {rank}, samples {len(order)}, {what}: {cycles} cycles, '
                  f'{result.train_ms:.2f} ms', flush=True)
    return passed


def main() -> int:
    """Run the self-test; gives 0 when everything passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('backend', choices=('kv260', 'sim'), nargs='?', default='kv260')
    try:
        backend = Kv260Backend() if parser.parse_args().backend == 'kv260' else SimBackend()
        passed = run(backend)
    except InstantFTError as error:
        print(f'FAIL: {error}')
        return 1
    print('self-test passed' if passed else 'self-test FAILED')
    return 0 if passed else 1


if __name__ == '__main__':
    sys.exit(main())
