"""Fixtures of the process-level tests; none runs without ROS 2 and the built package."""

import pytest

try:
    import rclpy  # noqa: F401

    import instantft_ros.msg  # noqa: F401
except ImportError:
    collect_ignore_glob = ['test_*.py']


@pytest.fixture
def robot(tmp_path):
    from harness import robot as make
    with make(tmp_path) as made:
        yield made
