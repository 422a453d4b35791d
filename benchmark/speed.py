"""
Speed of one fine-tuning, 1,024 samples, 10 epochs: interleaved in one process, one thread each.

The standard job (`native`) is the same for all that run our method: NF4 cache, rank 4, SGD with
batch 1 and linear decay. `as shipped` is what the node does by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import statistics
import time

import numpy as np
import torch

from benchmark import baselines, data
from benchmark.jobs import EPOCHS, job_of, RANK, SAMPLES, Shape, TAPS
from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.accelerator.numpy_reference import NumpyReference

SETTING = baselines.Setting('adam', 2e-3, True)  # the time depends on nothing but the optimizer


def contestants() -> dict[str, Callable[[], float]]:
    """Give what is compared: each does its whole job and gives its milliseconds."""
    backbone, _ = data.backbone_of('fashion-mnist')
    weights = data.manifest_of('fashion-mnist').parent / backbone.manifest.network
    images = np.random.default_rng(0).integers(0, 255, (SAMPLES, 28, 28), np.uint8)
    labels = np.random.default_rng(0).integers(0, 10, SAMPLES)

    def pytorch(make: Callable[[], torch.nn.Module]) -> Callable[[], float]:
        def run() -> float:
            network = make()
            started = time.perf_counter()
            for _ in baselines.train(network, images, labels, SETTING, EPOCHS, 0):
                pass
            return 1e3 * (time.perf_counter() - started)
        return run

    def ours(accelerator: Accelerator, job: FineTuneJob) -> Callable[[], float]:
        return lambda: accelerator.fine_tune(job).train_ms

    return {
        'PyTorch FT-All': pytorch(lambda: baselines.LeNet5(weights, 'FT-All')),
        'PyTorch LoRA-All, by hand': pytorch(lambda: baselines.LeNet5(weights, 'LoRA-All')),
        'PyTorch LoRA-All, peft': pytorch(lambda: with_peft(weights)),
        'NumPy reference': ours(NumpyReference(), job_of(Shape())),
        'native': ours(CpuBackend(), job_of(Shape())),
        'native, as shipped': ours(CpuBackend(), job_of(Shape(), shipped=True)),
    }


def with_peft(weights: Path) -> torch.nn.Module:
    """LoRA on all layers, by the peft library."""
    import peft
    network = baselines.LeNet5(weights, 'FT-All')  # peft freezes it
    layers = ['conv1', 'conv2', 'fc1', 'fc2', 'fc3']
    return peft.get_peft_model(network, peft.LoraConfig(r=baselines.RANK, target_modules=layers))


def machine_limits() -> dict[str, float]:
    """Measure the peak multiply rate (float32, one thread) and the memory bandwidth."""
    a = torch.rand(1536, 1536)
    rate = max(2 * 1536 ** 3 / _seconds(lambda: a @ a) for _ in range(10))
    big = np.ones(64 << 20, np.float32)
    other = np.empty_like(big)
    bandwidth = max(2 * big.nbytes / _seconds(lambda: np.copyto(other, big)) for _ in range(5))
    return {'peak_gflops': rate / 1e9, 'bandwidth_gb_per_s': bandwidth / 1e9}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def joules(work: Callable[[], object], repeats: int = 50) -> float | None:
    """Give the energy of one piece of work by the processor's RAPL counter; None without one."""
    counters = sorted(Path('/sys/class/powercap').glob('*/energy_uj'))
    try:
        before = int(counters[0].read_text())
        for _ in range(repeats):
            work()
        used = int(counters[0].read_text()) - before
    except (IndexError, OSError):
        return None
    return used / 1e6 / repeats if used > 0 else None  # the counter wraps


def scaling() -> dict[str, dict[str, list[float]]]:
    """Time the standard job over one size at a time: sizes, milliseconds, log-log slope."""
    backend = CpuBackend()
    results = {}
    for name, sizes in (('samples', (64, 256, 1024, 4096)), ('width', (1, 2, 4, 8)),
                        ('rank', (4, 8, 16, 32)), ('classes', (2, 10, 50, 200)),
                        ('epochs', (1, 5, 10, 20, 40))):
        times = []
        for size in sizes:
            job = job_of(Shape(**{name: size}))
            times.append(statistics.median(backend.fine_tune(job).train_ms for _ in range(5)))
        slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
        results[name] = {'sizes': [float(size) for size in sizes], 'ms': times, 'slope': [slope]}
    return results


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--repeats', type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    compared = contestants()
    times: dict[str, list[float]] = {name: [] for name in compared}
    for repeat in range(args.repeats):
        print(f'speed: round {repeat + 1} of {args.repeats}', flush=True)
        for name, run in compared.items():
            times[name].append(run())
    limits = machine_limits()
    medians = {name: statistics.median(each) for name, each in times.items()}
    lora = medians['PyTorch LoRA-All, by hand']
    # one multiply-add per weight of A for the product, one for the update
    flops = 2 * 2 * SAMPLES * EPOCHS * sum(TAPS) * RANK
    read = SAMPLES * EPOCHS * 2 * sum(TAPS) / 2
    native_s = medians['native'] / 1e3
    result = {
        'variant': CpuBackend().variant, 'repeats': args.repeats, **limits,
        'methods': {name: {'ms': medians[name], 'ms_min': min(each), 'ms_max': max(each),
                           'ms_per_epoch': medians[name] / EPOCHS,
                           'ratio_to_lora_all': lora / medians[name]}
                    for name, each in times.items()},
        'native_share_of_peak': flops / native_s / 1e9 / limits['peak_gflops'],
        'native_share_of_bandwidth': read / native_s / 1e9 / limits['bandwidth_gb_per_s'],
        'native_joules': joules(compared['native']),
        'cached_bytes_per_sample': job_of(Shape()).start.layout.record_bytes,
        'fp32_bytes_per_sample': 4 * (sum(TAPS) + 10),
        'scaling': scaling(),
    }
    args.out.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
