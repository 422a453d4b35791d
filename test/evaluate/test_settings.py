"""The evaluation is set up as the node is."""

import dataclasses
from pathlib import Path

import pytest

from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.driver import PynqAccelerator
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.evaluate.settings import Settings, training_policy
from instantft_ros.pipeline import RANK, TrainingPolicy

ROOT = Path(__file__).parents[2]


def test_defaults_are_those_of_the_node():
    pytest.importorskip('rclpy', reason='needs a ROS 2 environment')
    from instantft_ros.nodes.classifier_parameters import ClassifierParameters

    node = dataclasses.asdict(ClassifierParameters())
    ours = dataclasses.asdict(dataclasses.replace(Settings(), rank=RANK))
    ours |= dataclasses.asdict(training_policy(CpuBackend.limits))
    ours |= dataclasses.asdict(GatePolicy())
    assert ours == {name: node[name] for name in ours}
    assert training_policy(CpuBackend.limits) == TrainingPolicy()


def test_what_the_core_cannot_do_is_as_its_configuration_says():
    yaml = pytest.importorskip('yaml')
    wanted = yaml.safe_load((ROOT / 'config' / 'kv260.yaml').read_text())[
        '/**/classifier']['ros__parameters']
    policy = dataclasses.asdict(training_policy(PynqAccelerator.limits))
    assert {name: policy[name] for name in policy.keys() & wanted.keys()} == {
        name: wanted[name] for name in policy.keys() & wanted.keys()}
    assert PynqAccelerator.limits.rank == wanted['rank']
