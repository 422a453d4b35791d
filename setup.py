"""`pip install .` without ROS: the core, the trainers and the backbone training."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name='instantft_ros',
    version=ElementTree.parse(HERE / 'package.xml').findtext('version'),
    description='Operator corrections that a camera classifier learns within milliseconds',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['instantft_ros', 'instantft_ros.*'],
                           exclude=['instantft_ros.nodes']),
    package_data={'instantft_ros': ['data/*', 'models/*/*']},
    install_requires=[
        'numpy',                     # arrays
        'opencv-python-headless',    # the frozen network, resizing, colours
    ],
    extras_require={
        'training': ['torch>=2.6', 'onnx'],    # training and exporting a backbone
    },
)
