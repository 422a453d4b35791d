"""What the tests of the state directory share."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import sys
import tempfile
import traceback

import pytest


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
