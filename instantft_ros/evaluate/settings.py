"""How the replayed node is set up: the defaults of the node's parameters of the same names."""

from __future__ import annotations

from dataclasses import dataclass

from instantft_ros.accelerator.base import Accelerator, Limits
from instantft_ros.adaptation.versions import VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.class_list import ClassList
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameRing
from instantft_ros.pipeline import Pipeline, RANK, replay_and_guard, TrainingPolicy


@dataclass(frozen=True)
class Settings:
    """See doc/classifier.md; rank 0: the default, or the highest that the backend can do."""

    rank: int = 0
    seed: int = 0
    ring_frames: int = 900
    cache_capacity: int = 1024
    holdout_share: float = 0.1
    recency_s: float = 300.0
    replay_per_class: int = 8
    max_classes: int = 0


def make_pipeline(backbone: Backbone, views: tuple[str, ...], accelerator: Accelerator,
                  settings: Settings) -> Pipeline:
    """Build what the classifier node builds; raises `AdapterError`, `ManifestError`."""
    limits = accelerator.limits
    replay, guard = replay_and_guard(backbone, settings.replay_per_class)
    rank = settings.rank or min(RANK, limits.rank)
    return Pipeline(
        backbone, FrameRing(views, settings.ring_frames),
        ForwardCache(backbone.layout, min(settings.cache_capacity, limits.samples - len(replay)),
                     settings.holdout_share, settings.recency_s),
        VersionHistory(Adapter.initial(backbone.layout, backbone.digest, rank, settings.seed)),
        ClassList(backbone.manifest.classes, backbone.layout.classes, settings.max_classes),
        replay, guard)


def training_policy(limits: Limits) -> TrainingPolicy:
    """Give the node's default, or for a backend that is not up to it config/kv260.yaml's."""
    policy = TrainingPolicy()
    if policy.optimizer in limits.optimizers and (
            limits.batch_sizes is None or policy.batch_size in limits.batch_sizes):
        return policy
    return TrainingPolicy(optimizer='sgd', epochs=10, batch_size=1, warm_start=True)
