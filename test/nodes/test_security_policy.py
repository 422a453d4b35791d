"""The SROS2 policies name exactly what the nodes offer and use."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

POLICY = Path(__file__).parents[2] / 'config/sros2_policies.xml'

#: What every ROS 2 has or has not, by version.
OPTIONAL = {'/classifier/get_type_description', '/accelerator/get_type_description'}


def named(node: str, tag: str, right: str) -> set[str]:
    profile = ElementTree.parse(POLICY).find(f".//profile[@node='{node}']")
    return {f'/{each.text}' for group in profile.findall(f'{tag}s') if right in group.attrib
            for each in group}


@pytest.mark.parametrize('node', ['classifier', 'accelerator'])
def test_the_policy_allows_what_the_node_does_and_no_more(robot, node):
    robot.start_accelerator()
    robot.start_classifier()
    graph = robot.node
    actions = {'classifier': ('action', 'call'), 'accelerator': ('action', 'execute')}[node]
    assert named(node, *actions) == {'/fine_tune'}

    def names(found: list) -> set[str]:
        return {name for name, _ in found if '/_action/' not in name}

    wanted = named(node, 'topic', 'publish')
    robot.wait(lambda: wanted <= names(graph.get_publisher_names_and_types_by_node(node, '/')))
    assert names(graph.get_publisher_names_and_types_by_node(node, '/')) == wanted
    assert names(graph.get_subscriber_names_and_types_by_node(node, '/')) \
        == named(node, 'topic', 'subscribe')
    assert names(graph.get_service_names_and_types_by_node(node, '/')) | OPTIONAL \
        == named(node, 'service', 'reply') | OPTIONAL


def test_what_an_operator_may_ask_for_is_there():
    assert named('operator', 'service', 'request') <= named('classifier', 'service', 'reply')
    assert named('operator', 'topic', 'publish') - {'/parameter_events', '/rosout'} \
        == {'/corrections'}
    assert named('operator', 'topic', 'subscribe') <= named('classifier', 'topic', 'publish')
