"""What the documents and configurations say of parameters is what the nodes declare."""

import dataclasses
from pathlib import Path
import re

import pytest
import yaml

from instantft_ros.demo.world_parameters import WorldParameters
from instantft_ros.nodes.accelerator import AcceleratorParameters
from instantft_ros.nodes.classifier_parameters import (
    CameraParameters,
    ClassifierParameters,
    RegionParameters,
)
from instantft_ros.nodes.demo_camera import DemoCameraParameters
from instantft_ros.nodes.demo_monitor import MonitorParameters
from instantft_ros.nodes.demo_operator import OperatorParameters
from instantft_ros.nodes.parameters import spec_of

ROOT = Path(__file__).parents[2]

PAGES = {
    'doc/classifier.md': {'': ClassifierParameters, '<camera>.': CameraParameters,
                          '<camera>.<region>.': RegionParameters},
    'doc/accelerator.md': {'': AcceleratorParameters},
    'doc/demo.md': {'world.': WorldParameters, 'demo_camera: ': DemoCameraParameters,
                    'demo_operator: ': OperatorParameters,
                    'demo_monitor: ': MonitorParameters},
}


def row(prefix: str, declared: dataclasses.Field) -> str:
    spec = spec_of(declared)
    default = list(declared.default) if isinstance(declared.default, tuple) else declared.default
    shown = {'': "''", True: 'true', False: 'false'}.get(default, default) \
        if isinstance(default, (str, bool)) else default
    number = '{:d} to {:d}' if isinstance(default, int) else '{:g} to {:g}'
    allowed = (', '.join(spec.choices) if spec.choices else
               number.format(spec.low, spec.high) if spec.low is not None else '')
    return (f'| `{prefix}{declared.name}` | {shown} | {allowed} | '
            f'{"live" if spec.live else "start"} | {spec.description} |')


@pytest.mark.parametrize('page', PAGES)
def test_parameter_tables(page):
    text = (ROOT / page).read_text()
    for prefix, kind in PAGES[page].items():
        rows = [row(prefix, declared) for declared in dataclasses.fields(kind)]
        missing = [each for each in rows if each not in text]
        assert not missing, f'{page} must have these rows:\n' + '\n'.join(rows)


@pytest.mark.parametrize('name', ['demo.yaml', 'instantft.yaml', 'kv260.yaml'])
def test_configurations_name_existing_parameters_with_their_types(name):
    kinds = {'classifier': ClassifierParameters, 'accelerator': AcceleratorParameters,
             'demo_camera': DemoCameraParameters, 'demo_operator': OperatorParameters}
    for node, content in yaml.safe_load((ROOT / 'config' / name).read_text()).items():
        for key, value in content['ros__parameters'].items():
            if isinstance(value, dict):
                kind = WorldParameters if key == 'world' else CameraParameters
                values = value
            else:
                kind, values = kinds[node.rsplit('/', 1)[-1]], {key: value}
            fields = {field.name: field for field in dataclasses.fields(kind)}
            for each, given in values.items():
                default = fields[each].default
                wanted = list if isinstance(default, tuple) else type(default)
                assert type(given) is wanted, f'{name}: {each}'


def test_demo_configuration_is_the_default_world():
    world = yaml.safe_load((ROOT / 'config/demo.yaml').read_text())['/**']['ros__parameters']
    assert world['world'] == dataclasses.asdict(WorldParameters())


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / 'README.md', *(ROOT / 'doc').glob('*.md'), *(ROOT / 'hw').rglob('*.md')]
    for page in pages:
        for target in re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', page.read_text()):
            if '://' not in target:
                assert (page.parent / target).exists(), f'{page.name}: {target}'


def test_one_version():
    assert '<version>0.1.0</version>' in (ROOT / 'package.xml').read_text()
    assert (ROOT / 'CHANGELOG.rst').read_text().count('0.1.0\n-----') == 1
