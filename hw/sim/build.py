"""Compile the simulation of the accelerator: python hw/sim/build.py [FOLDER]."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from instantft_ros.accelerator.rtl_model import build

if __name__ == '__main__':
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
