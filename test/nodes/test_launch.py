"""The launch files, where the launch packages are."""

from pathlib import Path

import pytest

pytest.importorskip('launch', reason='this environment has no launch packages')
pytest.importorskip('launch_ros', reason='this environment has no launch_ros')

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler, Shutdown, TimerAction
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource

from harness import environment

LAUNCH = Path(__file__).parents[2] / 'launch'


def run(monkeypatch, name: str, arguments: dict[str, str], *more: object) -> int:
    for key, value in environment().items():
        monkeypatch.setenv(key, value)
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(LAUNCH / name)),
                                 launch_arguments=arguments.items()), *more]))
    return service.run()


def test_demo(monkeypatch, tmp_path):
    code = run(monkeypatch, 'demo.launch.py', {
        'duration_s': '30.0', 'out': str(tmp_path), 'namespace': 'robot1',
        'camera_topic': 'front/image'})
    assert code == 0
    assert (tmp_path / 'summary.json').exists()


@pytest.mark.parametrize('backend', ['cpu', 'numpy'])
def test_robot(monkeypatch, backend):
    said: list[str] = []

    def listen(event: ProcessIO) -> None:
        said.append(event.text.decode())

    stop = TimerAction(period=6.0, actions=[Shutdown(reason='seen enough')])
    listener = RegisterEventHandler(OnProcessIO(on_stdout=listen, on_stderr=listen))
    code = run(monkeypatch, 'instantft.launch.py', {
        'camera_topic': '/front/image', 'backend': backend}, listener, stop)
    assert code == 0
    assert "camera 'camera' on /front/image" in ''.join(said)
    assert ("backend 'numpy' is ready" in ''.join(said)) == (backend == 'numpy')
