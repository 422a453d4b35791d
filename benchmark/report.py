"""The results of all sections in one object, and as tables in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cells import WITH_REPLAY


def collect(out: Path, machine: dict[str, str]) -> dict[str, Any]:
    """Put the sections together, with the headline."""
    results: dict[str, Any] = {'machine': machine}
    for name in ('speed', 'cycles', 'stages', 'end_to_end', 'accuracy'):
        results[name] = json.loads((out / f'{name}.json').read_text())
    cache = results['end_to_end']['caches']['1024']
    results['comparison'] = comparison(results['accuracy'])
    at_1024 = [cell for cell in results['comparison'] if cell['labels'] == 1024]
    results['headline'] = {
        'finetune_ms': results['speed']['methods']['native']['ms'],
        'ratio_to_lora_all': results['speed']['methods']['native']['ratio_to_lora_all'],
        'accuracy_minus_lora_all': float(np.mean([cell['minus_lora_all'] for cell in at_1024])),
        'accuracy_minus_ft_all': float(np.mean([cell['minus_ft_all'] for cell in at_1024])),
        'correction_to_prediction_ms_p50': cache['reaction_ms_p50'],
        'correction_to_prediction_ms_p99': cache['reaction_ms_p99'],
        'correction_to_next_image_ms_p50': cache['next_image_ms_p50'],
        'correction_to_next_image_ms_p99': cache['next_image_ms_p99'],
        'latency_ratio_while_training': cache['latency_ratio_while_training'],
    }
    return results


def comparison(accuracy: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Compare InstantFT with LoRA-All and FT-All at every angle and number of labels.

    Differences are paired by seed; `half_width` is that of the 95 % confidence interval of the
    difference to LoRA-All, by Student's t.
    """
    cells = []
    for dataset, values in accuracy.items():
        means = by_method(values)
        for angle, labels in sorted({(key[1], key[2]) for key in means if key[1].isdigit()
                                     and key[0] == 'LoRA-All'},
                                    key=lambda pair: (int(pair[0]), pair[1])):
            ours, lora, full, frozen = (np.array(means[method, angle, labels]) for method in
                                        ('InstantFT', 'LoRA-All', 'FT-All', 'frozen'))
            cells.append({
                'dataset': dataset, 'angle': int(angle), 'labels': labels,
                'frozen': float(frozen.mean()), 'lora_all': float(lora.mean()),
                'ft_all': float(full.mean()), 'instantft': float(ours.mean()),
                'minus_lora_all': float((ours - lora).mean()),
                'minus_ft_all': float((ours - full).mean()),
                'half_width': half_width(ours - lora)})
    return cells


def by_method(values: dict[str, Any]) -> dict[tuple[str, str, int], list[float]]:
    """Give the accuracies over the seeds of each (method, drift, labels)."""
    grouped: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for key, value in sorted(values.items()):
        what, *rest = key.split('/')
        if what == 'accuracy':
            method, drift, labels, _ = rest
            grouped[method, drift, int(labels)].append(value)
    return grouped


#: Student's t, 97.5 %, by degrees of freedom.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def half_width(differences: Sequence[float] | np.ndarray) -> float:
    """Give half the width of the 95 % confidence interval of a mean; NaN for one value."""
    count = len(differences)
    if count < 2:
        return float('nan')
    return float(_T.get(count - 1, 1.96) * np.std(differences, ddof=1) / count ** 0.5)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown; floats get one decimal."""
    def cell(value: object) -> str:
        return f'{value:.1f}' if isinstance(value, float) else str(value)

    names = list(header)
    lines = [names, ['---'] * len(names), *([cell(each) for each in row] for row in rows)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def markdown(results: dict[str, Any]) -> str:
    """Write the report."""
    speed, machine = results['speed'], results['machine']
    parts = [
        '# Benchmark\n',
        f'{machine["cpu"]}, {machine["cores"]} cores, {machine["system"]}, commit '
        f'{machine["commit"]}, load at the end {machine["load"]}.\n',
        '## Headline\n',
        table(('', 'value'), [(name, f'{value:.2f}')
                              for name, value in results['headline'].items()]),
        '## Speed\n',
        f'1,024 samples, 10 epochs, one thread each, {speed["repeats"]} rounds in turns; the '
        f'native kernel ran as {speed["variant"]}.\n',
        table(('method', 'ms, median', 'min', 'max', 'ms per epoch', 'times faster than LoRA-All'),
              [(name, f'{each["ms"]:.2f}', f'{each["ms_min"]:.2f}', f'{each["ms_max"]:.2f}',
                f'{each["ms_per_epoch"]:.2f}', each['ratio_to_lora_all'])
               for name, each in speed['methods'].items()]),
        f'The accelerator takes {results["cycles"]["cycles"]:,} cycles in simulation, '
        f'{results["cycles"]["ms_at_200_mhz"]:.2f} ms at 200 MHz; not verified on a board.\n',
        f'The kernel uses {100 * speed["native_share_of_peak"]:.0f} % of the measured peak of '
        f'{speed["peak_gflops"]:.0f} GFLOP/s (float32 matrix product, one thread) and '
        f'{100 * speed["native_share_of_bandwidth"]:.0f} % of {speed["bandwidth_gb_per_s"]:.0f} '
        'GB/s (copying memory).\n',
        'Energy of one fine-tuning: ' + (
            f'{speed["native_joules"]:.3f} J by RAPL, the whole processor.\n'
            if speed['native_joules'] else
            'not measured, this machine gives no counter to read.\n'),
        f'A cached sample takes {speed["cached_bytes_per_sample"]:,} bytes, '
        f'{speed["fp32_bytes_per_sample"]:,} as floats.\n',
        table(('size', 'from', 'to', 'ms, from', 'ms, to', 'slope, log over log'),
              [(name, each['sizes'][0], each['sizes'][-1], f'{each["ms"][0]:.2f}',
                f'{each["ms"][-1]:.2f}', f'{each["slope"][0]:.2f}')
               for name, each in speed['scaling'].items()]),
        '## A frame in the classifier\n',
        table(('stage', 'µs'), [(name, f'{value:.0f}')
                                for name, value in results['stages'].items()]),
        *_end_to_end(results['end_to_end']),
        '## Accuracy, %\n',
        *_accuracy(results),
    ]
    return '\n'.join(parts)


def _end_to_end(results: dict[str, Any]) -> Iterable[str]:
    yield '## End to end, on DDS\n'
    yield table(
        ('cache', 'retrainings', 'correction -> first prediction, ms, p50', 'p99',
         'of the next image, p50', 'p99', 'prediction latency idle, ms, p99', 'training, p99',
         'ratio', 'beside other work, p99', 'ratio', 'frames', 'lost'),
        [(samples, each['retrainings'], each['reaction_ms_p50'], each['reaction_ms_p99'],
          each['next_image_ms_p50'], each['next_image_ms_p99'],
          each['latency_ms_p99']['idle'], each['latency_ms_p99']['training'],
          f'{each["latency_ratio_while_training"]:.2f}', each['latency_ms_p99']['other work'],
          f'{each["latency_ratio_other_work"]:.2f}', each['frames'], each['frames_lost'])
         for samples, each in sorted(results['caches'].items(), key=lambda item: int(item[0]))])
    yield ('Other work: a process of the same niceness that computes as long and as often as the '
           'fine-tunings did, while nothing is trained.\n')
    if 'cpu_share' in results:
        yield table(('cameras of 640 x 480 at 30 Hz', "classifier's share of one core, %"),
                    [(name, 100 * share) for name, share in results['cpu_share'].items()])
    if 'memory' in results:
        memory = results['memory']
        yield table(("the classifier's MB after 1 retraining", f'after {memory["retrainings"]}'),
                    [(memory['classifier_mb_after_1'],
                      memory[f'classifier_mb_after_{memory["retrainings"]}'])])


def _accuracy(results: dict[str, Any]) -> Iterable[str]:
    cells = results['comparison']
    for dataset in sorted({cell['dataset'] for cell in cells}):
        yield f'### {dataset}\n'
        settings = {key.split('/')[1]: value for key, value in results['accuracy'][dataset].items()
                    if key.startswith('setting/')}
        yield 'Tuned settings: ' + ', '.join(
            f'{method} {optimizer} {rate:g}{" falling" if decay else ""}'
            + (' (at the edge of the rates tried)' if edge else '')
            for method, (optimizer, rate, decay, _, edge) in settings.items()) + '.\n'
        yield table(
            ('angle', 'labels', 'frozen', 'LoRA-All', 'FT-All', 'InstantFT', 'minus LoRA-All',
             '±', 'minus FT-All'),
            [(cell['angle'], cell['labels'], cell['frozen'], cell['lora_all'], cell['ft_all'],
              cell['instantft'], f'{cell["minus_lora_all"]:+.1f}', cell['half_width'],
              f'{cell["minus_ft_all"]:+.1f}') for cell in cells if cell['dataset'] == dataset])
        means = by_method(results['accuracy'][dataset])
        others = sorted({key[0] for key in means if not key[0].endswith(WITH_REPLAY)}
                        - {'LoRA-All', 'FT-All', 'InstantFT', 'frozen'})
        columns = sorted({key[1:] for key in means
                          if key[0] in others and key[0] != 'without replay'},
                         key=lambda each: (int(each[0]), each[1]))
        if others:
            yield table(('method', *(f'{angle}°, {labels}' for angle, labels in columns)),
                        [(method, *(_mean(means.get((method, angle, labels)))
                                    for angle, labels in columns))
                         for method in ('InstantFT', *others)])
        yield from _equal_data(means)
        drifts = sorted({key[1] for key in means if not key[1].isdigit()})
        if drifts:
            yield table(('drift', 'frozen', 'LoRA-All', 'FT-All', 'InstantFT'),
                        [(drift, *(float(np.mean(means[method, drift, 1024])) for method in
                                   ('frozen', 'LoRA-All', 'FT-All', 'InstantFT')))
                         for drift in drifts])
        yield from _forgetting(results['accuracy'][dataset])


def _equal_data(means: dict[tuple[str, str, int], list[float]]) -> Iterable[str]:
    """Everybody with the images from before the drift that InstantFT trains on, and nobody."""
    rows = sorted((key[1:] for key in means if key[0] == 'LoRA-All' + WITH_REPLAY),
                  key=lambda each: (int(each[0]), each[1]))
    if rows:
        yield 'On equal data: all with the images from before the drift, and all without:\n'
        columns = {'LoRA-All with': 'LoRA-All' + WITH_REPLAY,
                   'FT-All with': 'FT-All' + WITH_REPLAY, 'InstantFT with': 'InstantFT',
                   'LoRA-All without': 'LoRA-All', 'FT-All without': 'FT-All',
                   'InstantFT without': 'without replay'}
        yield table(('angle', 'labels', *columns),
                    [(angle, labels, *(float(np.mean(means[method, angle, labels]))
                                       for method in columns.values())) for angle, labels in rows])


def _mean(values: list[float] | None) -> float | str:
    return float(np.mean(values)) if values else ''


def _forgetting(values: dict[str, Any]) -> Iterable[str]:
    grouped: dict[tuple[int, str, int], list[list[float]]] = defaultdict(list)
    for key, value in values.items():
        if key.startswith('forgetting/'):
            _, share, angle, labels, _ = key.split('/')
            grouped[int(share), angle, int(labels)].append(value)
    if grouped:
        yield table(
            ('of the cache from before the drift', 'angle', 'labels', 'drifted', 'upright'),
            [(f'1/{share}' if share else 'none', angle, labels,
              *(float(each) for each in np.mean(pairs, axis=0)))
             for (share, angle, labels), pairs in sorted(grouped.items())])
