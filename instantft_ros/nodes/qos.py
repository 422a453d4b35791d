"""The quality of service of each topic, by what the topic is for."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def images(reliability: str, depth: int) -> QoSProfile:
    """Camera images: the newest few, 'best_effort' or 'reliable'."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST,
                      reliability=ReliabilityPolicy[reliability.upper()])


def predictions() -> QoSProfile:
    """Predictions and labels: reliable, small messages."""
    return QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


def corrections() -> QoSProfile:
    """Corrections: none may be lost."""
    return QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)


def acknowledgements() -> QoSProfile:
    """As many as corrections that may wait: a reader that falls behind still gets each."""
    return QoSProfile(depth=10_000, reliability=ReliabilityPolicy.RELIABLE)


def incoming_corrections() -> QoSProfile:
    """On the classifier's side room for a second of them at 10,000 a second."""
    return QoSProfile(depth=10_000, reliability=ReliabilityPolicy.RELIABLE)


def status() -> QoSProfile:
    """Give late joiners the last state at once."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL)
