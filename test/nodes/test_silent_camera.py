"""What is said of a camera that sends nothing, and which reliability is asked for."""

import pytest

from instantft_ros.nodes.silent_camera import COMPRESSED, IMAGE, Offer, reason, reliability_for

RELIABLE, BEST_EFFORT = Offer('/a', IMAGE, 'reliable'), Offer('/b', IMAGE, 'best_effort')


@pytest.mark.parametrize(('offers', 'wanted'), [
    ([], 'best_effort'), ([RELIABLE], 'reliable'), ([BEST_EFFORT], 'best_effort'),
    ([RELIABLE, BEST_EFFORT], 'best_effort'), ([RELIABLE, RELIABLE], 'reliable')])
def test_reliability_fits_every_publisher(offers, wanted):
    assert reliability_for(offers) == wanted


@pytest.mark.parametrize(('kind', 'asked', 'offers', 'topics', 'words'), [
    (IMAGE, 'best_effort', [], ['/front/image_raw'], 'images are on /front/image_raw'),
    (IMAGE, 'best_effort', [], ['/camera'], 'nobody publishes images'),
    (IMAGE, 'best_effort', [Offer('/a', COMPRESSED, 'reliable')], [],
     'use a topic name that ends in /compressed'),
    (COMPRESSED, 'best_effort', [RELIABLE], [], 'that does not end in /compressed'),
    (IMAGE, 'best_effort', [Offer('/a', 'std_msgs/msg/String', 'reliable')], [],
     'it is no image topic'),
    (IMAGE, 'reliable', [RELIABLE, BEST_EFFORT], [],
     '/a offers reliable, /b offers best_effort, this node asks for reliable: set '
     'image_reliability to auto'),
    (IMAGE, 'best_effort', [BEST_EFFORT], [], 'which fits: either the camera is quiet'),
])
def test_the_reason_names_both_sides_and_the_way_out(kind, asked, offers, topics, words):
    assert words in reason('/camera', kind, asked, offers, topics)
