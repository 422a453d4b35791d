"""What the tests of the accelerator share."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from instantft_ros.accelerator.rtl_model import build, LIBRARY_VARIABLE, RtlModel  # noqa: E402


@pytest.fixture(scope='session')
def library() -> Path:
    """The compiled model, built once unless the environment names one."""
    named = os.environ.get(LIBRARY_VARIABLE)
    return Path(named) if named else build()


@pytest.fixture
def model(library: Path) -> Iterator[RtlModel]:
    """A fresh core, its registers and memories with random contents."""
    model = RtlModel(library, size=16 << 20)
    yield model
    assert model.counts.violations == 0, 'the AXI master broke the protocol'
    model.close()
