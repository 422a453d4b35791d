"""Results that are kept, and the figures made of them."""

import numpy as np
import pytest

from benchmark import report, run
from benchmark.cells import Cells, source_digest


def test_what_was_computed_is_not_computed_again(tmp_path, capsys):
    asked = []

    def compute(key: str) -> int:
        asked.append(key)
        return len(key)

    file = tmp_path / 'cells.jsonl'
    Cells(file, lambda key: 'sources').fill('first', ['a', 'bb'], compute)
    with file.open('a') as stream:
        stream.write('{"digest": "sources", "key": "torn')  # stopped in the middle of a line
    again = Cells(file, lambda key: 'sources')
    again.fill('second', ['a', 'bb', 'ccc'], compute, cost=len)
    assert asked == ['a', 'bb', 'ccc'] and again['ccc'] == 3
    assert '1 of 1 cells, about 0 s left' in capsys.readouterr().out
    half = Cells(file, lambda key: 'sources' if key == 'a' else 'changed')
    assert half.all() == {'a': 1}


def test_the_digest_depends_on_what_is_named():
    assert source_digest('benchmark') == source_digest('benchmark')
    assert source_digest('benchmark') != source_digest('native')


def test_every_section_names_sources_of_its_own():
    assert len({run.digest_of(section) for section in run.SECTIONS}) == len(run.SECTIONS)


def test_comparison_is_paired_by_seed():
    values = {f'accuracy/{method}/45/64/{seed}': 50.0 + seed + gain
              for method, gain in (('frozen', -9.0), ('LoRA-All', 0.0), ('FT-All', 2.0),
                                   ('InstantFT', 1.0)) for seed in range(5)}
    cell, = report.comparison({'mnist': values})
    assert cell['minus_lora_all'] == pytest.approx(1.0)
    assert cell['minus_ft_all'] == pytest.approx(-1.0)
    assert cell['half_width'] == pytest.approx(0.0)


def test_confidence_interval():
    assert report.half_width([1.0, 3.0]) == pytest.approx(12.71)
    assert np.isnan(report.half_width([1.0]))


def test_tables():
    assert report.table(('a', 'b'), [(1, 2.345)]) == '| a | b |\n| --- | --- |\n| 1 | 2.3 |\n'
