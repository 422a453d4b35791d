"""
The demo: a belt that drifts, an operator who corrects, a classifier that learns.

ros2 launch instantft_ros demo.launch.py
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('instantft_ros'))


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([
        DeclareLaunchArgument('namespace', default_value='', description='of all nodes'),
        DeclareLaunchArgument('backend', default_value='cpu',
                              description='what trains the adapters: cpu, in the classifier; any '
                                          'other starts an accelerator node with it'),
        DeclareLaunchArgument('camera_topic', default_value='image_raw',
                              description="topic that carries the demo camera's images"),
        DeclareLaunchArgument('duration_s', default_value='65.0',
                              description='how long the belt runs, seconds'),
        DeclareLaunchArgument('out', default_value='out/demo',
                              description='folder for summary.json and accuracy.png'),
        DeclareLaunchArgument('rviz', default_value='false', description='open rviz'),
        SetEnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE',
                               str(SHARE / 'config/fastdds.xml')),
        SetEnvironmentVariable('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        SetEnvironmentVariable('ROS_LOCALHOST_ONLY',
                               '1' if os.environ.get('ROS_DISTRO') == 'humble' else '0'),
        OpaqueFunction(function=_nodes),
    ])


def _nodes(context: LaunchContext) -> list[Node | RegisterEventHandler]:
    def given(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    out = Path(given('out')).resolve()
    topic = given('camera_topic')

    backend = given('backend')
    core = [str(SHARE / 'config/kv260.yaml')] if backend in ('kv260', 'sim') else []

    def node(name: str, **parameters: object) -> Node:
        return Node(package='instantft_ros', executable=name, name=name,
                    namespace=given('namespace'), output='screen',
                    parameters=[*core, str(SHARE / 'config/demo.yaml'),
                                {'world.duration_s': float(given('duration_s'))} | parameters],
                    remappings=[('image_raw', topic)])

    monitor = node('demo_monitor', out=str(out), adapters=str(out / 'adapters'))
    return [
        # first: without rviz2 the launch ends here, before it has started anything
        Node(package='rviz2', executable='rviz2', name='rviz', namespace=given('namespace'),
             arguments=['-d', str(SHARE / 'rviz/instantft.rviz')],
             remappings=[('image_raw', topic)],
             condition=IfCondition(LaunchConfiguration('rviz'))),
        *([] if backend == 'cpu' else [node('accelerator', backend=backend)]),
        node('classifier', state_directory=str(out / 'adapters'),
             trainer='own' if backend == 'cpu' else 'accelerator'),
        node('demo_operator'),
        node('demo_camera'),
        monitor,
        RegisterEventHandler(OnProcessExit(
            target_action=monitor,
            on_exit=[EmitEvent(event=Shutdown(reason='the demo is over'))])),
    ]
