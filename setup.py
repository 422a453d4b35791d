"""`pip install .` without ROS: the core, the trainers and the backbone training."""

from pathlib import Path
import shutil
import subprocess
from xml.etree import ElementTree

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent


class BuildNative(build_ext):
    """Build native/ with CMake; without CMake or a compiler the package trains with NumPy."""

    def build_extension(self, ext: Extension) -> None:
        """Put the library beside the package's modules."""
        cmake = shutil.which('cmake')
        if cmake is None or not any(map(shutil.which, ('c++', 'g++', 'clang++'))):
            print('instantft_ros: no CMake or no C++ compiler, so NumPy will train', flush=True)
            return
        build = Path(self.build_temp).resolve() / 'native'
        target = Path(self.build_lib).resolve() / 'instantft_ros'
        if self.inplace:
            target = HERE / 'instantft_ros'
        subprocess.run([cmake, '-S', str(HERE / 'native'), '-B', str(build),
                        '-DCMAKE_BUILD_TYPE=Release', f'-DCMAKE_INSTALL_PREFIX={target}'],
                       check=True)
        subprocess.run([cmake, '--build', str(build), '--target', 'install'], check=True)

    def get_outputs(self) -> list[str]:
        """Name no file: the library is none of Python's."""
        return []


setup(
    name='instantft_ros',
    version=ElementTree.parse(HERE / 'package.xml').findtext('version'),
    description='Operator corrections that a camera classifier learns within milliseconds',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=[*find_packages(include=['instantft_ros', 'instantft_ros.*'],
                             exclude=['instantft_ros.nodes']),
              'instantft_ros.interfaces'],
    package_dir={'instantft_ros.interfaces': 'msg'},    # evaluate/interfaces.py reads them there
    package_data={'instantft_ros': ['data/*', 'models/*/*'],
                  'instantft_ros.interfaces': ['*.msg']},
    entry_points={'console_scripts': ['instantft = instantft_ros.__main__:main']},
    ext_modules=[Extension('instantft_ros.lib.instantft_native', [])],
    cmdclass={'build_ext': BuildNative},
    install_requires=[
        'numpy',                     # arrays
        'opencv-python-headless',    # the frozen network, resizing, colours
    ],
    extras_require={
        'evaluate': [
            'rosbags',       # reads bags without ROS
            'matplotlib',    # plots the accuracy
        ],
        'training': ['torch>=2.6', 'onnx'],    # training and exporting a backbone
    },
)
