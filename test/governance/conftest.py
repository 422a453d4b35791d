"""What the tests of the state directory share."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import sys
import tempfile
import traceback

import numpy as np
import pytest

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout
from instantft_ros.governance.version_manifest import Figures, VersionManifest
from instantft_ros.governance.version_store import VersionStore


class Ticking:
    """A clock that goes on by a second with each look."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        self.now_ns += 1_000_000_000
        return self.now_ns


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def in_child() -> Callable[..., None]:
    """Run a function in a process of its own, without root's rights if asked."""
    def run(function: Callable[[], None], unprivileged: bool = False) -> None:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                if unprivileged and os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                function()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that any user may reach; pytest's own ones are root's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


LAYOUT = FeatureLayout((5, 7), 3)
BACKBONE = 'ab' * 32


def make_adapter(seed: int, layout: FeatureLayout = LAYOUT, backbone: str = BACKBONE) -> Adapter:
    rng = np.random.default_rng(seed)
    start = Adapter.initial(layout, backbone, rank=2, seed=seed)
    return Adapter(layout, start.a, rng.normal(size=start.b.shape), backbone)


class Versions:
    """A store with short ways to fill it."""

    layout, backbone, adapter = LAYOUT, BACKBONE, staticmethod(make_adapter)

    def __init__(self, folder: Path, clock: Ticking) -> None:
        self.folder, self.clock = folder, clock
        self.store = VersionStore(folder, clock)

    def manifest(self, number: int, parent: int = 0, state: str = 'accepted', **more):
        return VersionManifest(
            number=number, parent=parent, state=state, class_names=('a', 'b', 'c'),
            accepted_by='gate' if state == 'accepted' else '',
            **({'robot': 'r2', 'corrections': {'a': number, 'b': 2},
                'figures': Figures(0.5 / (number + 1), 0.9),
                'train_ms': 4.5, 'schedule': {'epochs': 10, 'optimizer': 'adam'},
                'session': 's', 'cache_version': 10 * number, 'backend': 'cpu',
                'package_version': '0.1.0', 'reason': 'loss 1.0 -> 0.5'} | more))

    def save(self, number: int, parent: int = 0, state: str = 'accepted', **more):
        return self.store.save(make_adapter(number), self.manifest(number, parent, state, **more))

    def chain(self, last: int) -> None:
        """Save version 0 to `last`, each the parent of the next, the last one in use."""
        for number in range(last + 1):
            self.save(number, max(0, number - 1))
        self.store.set_current(last)


@pytest.fixture
def versions(tmp_path, clock) -> Versions:
    return Versions(tmp_path / 'state', clock)
