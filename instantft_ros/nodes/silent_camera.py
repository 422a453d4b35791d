"""Why no image arrives on a topic, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: What a camera's topic may carry.
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True)
class Offer:
    """One publisher of a topic: its node, message type and reliability ('reliable', ...)."""

    node: str
    type: str
    reliability: str


def reliability_for(offers: Sequence[Offer]) -> str:
    """
    Choose what to ask for so that every publisher fits: reliable only where all offer that.

    Best effort takes both kinds, so it is the choice where nobody publishes yet.
    """
    if offers and all(offer.reliability == 'reliable' for offer in offers):
        return 'reliable'
    return 'best_effort'


def reason(topic: str, kind: str, asked: str, offers: Sequence[Offer],
           image_topics: Sequence[str]) -> str:
    """
    Say why nothing arrives: who publishes what, with which QoS on each side, and the way out.

    kind: the message type subscribed to; asked: its reliability; image_topics: the topics that
    carry images in this graph.
    """
    if not offers:
        others = [each for each in image_topics if each != topic]
        found = f'images are on {", ".join(others)}' if others else 'nobody publishes images'
        return f'nobody publishes it ({found}): set the parameter topic, or remap'
    strangers = [offer for offer in offers if offer.type != kind]
    if len(strangers) == len(offers):
        wanted = 'that ends in /compressed' if strangers[0].type == COMPRESSED else \
            'that does not end in /compressed'
        advice = f'use a topic name {wanted}' if strangers[0].type in (IMAGE, COMPRESSED) else \
            'it is no image topic'
        return (f'{strangers[0].node} publishes {strangers[0].type} there, this node reads '
                f'{kind}: {advice}')
    sides = ', '.join(f'{offer.node} offers {offer.reliability}' for offer in offers)
    if asked == 'reliable' and any(offer.reliability != 'reliable' for offer in offers):
        return f'{sides}, this node asks for reliable: set image_reliability to auto'
    return (f'{sides}, this node asks for {asked}, which fits: either the camera is quiet, or its '
            'images get lost on the way, see doc/images_over_dds.md')
