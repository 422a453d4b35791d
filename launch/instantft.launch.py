"""
The classifier on a robot, and its accelerator where it has one.

ros2 launch instantft_ros instantft.launch.py camera_topic:=/camera/image_raw
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('instantft_ros'))


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([
        DeclareLaunchArgument('namespace', default_value='', description='of all nodes'),
        DeclareLaunchArgument('backend', default_value='cpu',
                              description='what trains the adapters: cpu, in the classifier; any '
                                          'other starts an accelerator node with it'),
        DeclareLaunchArgument('params_file', default_value=str(SHARE / 'config/instantft.yaml'),
                              description='parameters of the nodes'),
        DeclareLaunchArgument('camera_topic', default_value='',
                              description="topic of the camera named 'camera'; empty: as in "
                                          'params_file'),
        DeclareLaunchArgument('manifest', default_value='',
                              description='manifest of the frozen network; empty: as in '
                                          'params_file'),
        DeclareLaunchArgument('rviz', default_value='false', description='open rviz'),
        DeclareLaunchArgument('fastdds_profile',
                              default_value=EnvironmentVariable(
                                  'FASTRTPS_DEFAULT_PROFILES_FILE',
                                  default_value=str(SHARE / 'config/fastdds.xml')),
                              description='Fast DDS settings; the default carries images in '
                                          'shared memory and keeps all else on this machine'),
        SetEnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE',
                               LaunchConfiguration('fastdds_profile')),
        OpaqueFunction(function=_nodes),
    ])


def _nodes(context: LaunchContext) -> list[Node]:
    def given(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    chosen = {name: given(argument) for name, argument in
              (('camera.topic', 'camera_topic'), ('manifest', 'manifest')) if given(argument)}
    if not Path(given('params_file')).is_file():
        raise FileNotFoundError(f"there is no params_file '{given('params_file')}'")
    backend = given('backend')
    core: list[str | dict[str, str]] = []
    if backend != 'cpu':
        core = [{'trainer': 'accelerator'}]
    if backend in ('kv260', 'sim'):
        core.append(str(SHARE / 'config/kv260.yaml'))
    common = {'package': 'instantft_ros', 'namespace': given('namespace'), 'output': 'screen'}
    return [
        # first: without rviz2 the launch ends here, before it has started anything
        Node(package='rviz2', executable='rviz2', name='rviz', namespace=given('namespace'),
             arguments=['-d', str(SHARE / 'rviz/instantft.rviz')],
             condition=IfCondition(LaunchConfiguration('rviz'))),
        *([] if backend == 'cpu' else [
            Node(executable='accelerator', name='accelerator', **common,
                 parameters=[given('params_file'), {'backend': backend}])]),
        Node(executable='classifier', name='classifier', **common,
             parameters=[given('params_file'), *core, chosen]),
    ]
