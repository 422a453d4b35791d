"""The parameters of the node `classifier`; doc/classifier.md is checked against this."""

from __future__ import annotations

from dataclasses import dataclass

from instantft_ros.accelerator.job import OPTIMIZERS
from instantft_ros.adaptation.label_requests import MEASURES
from instantft_ros.nodes.parameters import parameter
from instantft_ros.pipeline import RANK


@dataclass(frozen=True)
class ClassifierParameters:
    """What the node is started with; those declared live may be changed while it runs."""

    autostart: bool = parameter(True, 'configure and activate without a lifecycle manager')
    manifest: str = parameter('', 'manifest file of the frozen network; empty: the LeNet-5 for '
                              'Fashion-MNIST that ships with the package')
    class_names: tuple[str, ...] = parameter(('',), "names to use instead of the manifest's: as "
                                             'many as it has classes, then those that operators '
                                             "added; ['']: the manifest's")
    max_classes: int = parameter(0, 'operators may add classes until there are so many; 0: none, '
                                 'an unknown class is refused', low=0, high=4096)
    cameras: tuple[str, ...] = parameter(('camera',), 'names of the cameras; each has parameters '
                                         'of its own, see below')
    image_reliability: str = parameter('auto', 'reliability asked of image publishers; auto: '
                                       'what they offer, looked up again as they come and go',
                                       choices=('auto', 'best_effort', 'reliable'))
    image_depth: int = parameter(5, 'images queued per camera; the newest wins', low=1, high=100)
    max_age_ms: float = parameter(0.0, 'frames whose stamp is older than this when they are taken '
                                  'are dropped and counted, milliseconds; 0: none', low=0.0,
                                  high=1e9, live=True)
    annotated_rate_hz: float = parameter(10.0, 'annotated images per camera and second, at most; '
                                         '0: none', low=0.0, high=1000.0, live=True)

    ring_frames: int = parameter(900, 'recent frames per camera that can still be corrected',
                                 low=1, high=1_000_000)
    cache_capacity: int = parameter(1024, 'corrected frames held for training and validation',
                                    low=1, high=1_000_000)
    holdout_share: float = parameter(0.1, 'share of the corrections kept for validation',
                                     low=0.0, high=0.5)
    recency_s: float = parameter(300.0, 'time constant in seconds with which a full cache '
                                 'prefers newer frames', low=1e-3, high=1e9)

    replay_per_class: int = parameter(8, 'images of each class from before the drift that are '
                                      'trained on with the corrections; 0: none, and no guard '
                                      'set', low=0, high=1000)

    trainer: str = parameter('own', 'who trains the adapters: this process on its own processor, '
                             'or the accelerator node', choices=('own', 'accelerator'))
    rank: int = parameter(RANK, 'rank r of the adapter', low=1, high=64)
    seed: int = parameter(0, 'seed of the start weights', low=0, high=2**31 - 1)
    initial_adapter: str = parameter('', 'adapter file to start from; empty: a fresh one, with '
                                     "which the predictions are the frozen network's")
    optimizer: str = parameter('adam', 'how to descend; the KV260 has sgd alone',
                               choices=OPTIMIZERS, live=True)
    epochs: int = parameter(0, 'passes over the cache in one fine-tuning; 0: more for few samples',
                            low=0, high=1000, live=True)
    batch_size: int = parameter(32, 'samples per step; the KV260 has 1 alone', low=1, high=65_536,
                                live=True)
    rate: float = parameter(0.0, 'learning rate relative to the size of the features; 0: what '
                            'suits the optimizer', low=0.0, high=1e3, live=True)
    weight_decay: float = parameter(0.1, 'of adam: the first step takes this, over the root of '
                                    'the number of samples, of all weights', low=0.0, high=1.0,
                                    live=True)
    fit_logits: bool = parameter(True, 'trust the frozen network as far as the corrections say, '
                                 'by scaling its logits', live=True)
    logit_adjustment: float = parameter(1.0, 'how far to learn nothing of how many corrections '
                                        'each class has; 0: frequent classes are preferred',
                                        low=0.0, high=4.0, live=True)
    warm_start: bool = parameter(False, 'train on from the adapter in use, not from the first',
                                 live=True)

    min_corrections: int = parameter(1, 'fine-tune after this many new corrections', low=1,
                                     high=1_000_000, live=True)
    max_wait_s: float = parameter(1.0, 'or after this time with fewer of them, seconds', low=0.0,
                                  high=1e6, live=True)
    min_interval_s: float = parameter(0.0, 'time between two starts, at least, seconds', low=0.0,
                                      high=1e6, live=True)
    deadline_s: float = parameter(5.0, 'time for the trainer to answer, seconds', low=0.01,
                                  high=3600.0, live=True)
    retry_s: float = parameter(2.0, 'pause after a fine-tuning that failed, seconds; doubled with '
                               'each further failure, up to 60 s', low=0.0, high=3600.0, live=True)
    max_retries: int = parameter(5, 'failures in a row after which nothing is tried until a new '
                                 'correction comes or the accelerator comes back', low=1,
                                 high=1_000_000, live=True)
    loss_tolerance: float = parameter(0.1, 'rise of the loss on the cached samples with which a '
                                      'new adapter may still go live, nats', low=0.0, high=100.0,
                                      live=True)
    accuracy_tolerance: float = parameter(0.1, 'fall of the holdout accuracy with which a new '
                                          'adapter may still go live', low=0.0, high=1.0,
                                          live=True)

    guard_tolerance: float = parameter(0.2, 'fall of the accuracy on images from before the '
                                       'drift with which a new adapter may still go live',
                                       low=0.0, high=1.0, live=True)
    quarantine_share: float = parameter(0.1, 'corrections that disagree with everything are set '
                                        'aside when they are more than this share', low=0.0,
                                        high=1.0, live=True)
    shadow_corrections: int = parameter(0, 'a new adapter is tried on so many live corrections '
                                        'before it may go live; 0: none', low=0, high=100_000,
                                        live=True)
    shadow_s: float = parameter(60.0, 'and then judged by those that came within this time, '
                                'seconds', low=0.0, high=1e6, live=True)
    watchdog_frames: int = parameter(300, 'frames after a swap during which more mistakes than '
                                     'before bring the adapter before back; 0: no watchdog',
                                     low=0, high=1_000_000, live=True)
    approval: bool = parameter(False, 'no adapter goes live without ~/approve', live=True)
    operators: tuple[str, ...] = parameter(('',), "operator_ids that may correct, approve, import "
                                           "and roll back; ['']: everybody")
    trainings_per_hour: int = parameter(0, 'fine-tunings in any hour, at most; 0: any number',
                                        low=0, high=1_000_000, live=True)
    train_seconds_per_hour: float = parameter(0.0, 'time of training in any hour, seconds; '
                                              '0: any', low=0.0, high=3600.0, live=True)
    joules_per_hour: float = parameter(0.0, 'their energy in any hour, where it is measured, '
                                       'joules; 0: any', low=0.0, high=1e9, live=True)
    drift_threshold: float = parameter(8.0, 'sum of deviations, in standard deviations, that is '
                                       'a drift; 0: drifts are not looked for', low=0.0,
                                       high=1e6)
    label_request_measure: str = parameter('margin', 'how uncertainty is measured: 1 - (best - '
                                           'second best score), entropy of the scores, or how '
                                           "far they are from the frozen network's",
                                           choices=MEASURES, live=True)
    label_request_threshold: float = parameter(0.5, 'no label is asked for below this '
                                               'uncertainty', low=0.0, high=1.0, live=True)
    label_requests_per_minute: float = parameter(6.0, 'labels asked for, at most, each for the '
                                                 'least certain frame since the last; 0: none',
                                                 low=0.0, high=6000.0, live=True)

    state_directory: str = parameter('', 'folder for versions, labelled cache and audit log, '
                                     'from which a restart goes on; empty: nothing is kept')
    keep_versions: int = parameter(1000, 'versions kept there, at least those that are needed to '
                                   'go back', low=1, high=1_000_000, live=True)
    keep_days: float = parameter(0.0, 'and none older than this, days; 0: any age', low=0.0,
                                 high=36_500.0, live=True)


@dataclass(frozen=True)
class CameraParameters:
    """The parameters of one camera, named <camera>.topic and so on."""

    topic: str = parameter('image_raw', 'topic of its images; one that ends in /compressed '
                           'carries CompressedImage')
    region: tuple[int, ...] = parameter((0, 0, 0, 0), 'the part of the image to classify: x, y, '
                                        'width, height in pixels; all 0: the whole image')
    regions: tuple[str, ...] = parameter(('',), 'names of several parts, each classified, '
                                         "corrected and cached on its own; ['']: only the one of "
                                         '<camera>.region')


@dataclass(frozen=True)
class RegionParameters:
    """The parameters of one named region, named <camera>.<region>.region."""

    region: tuple[int, ...] = parameter((0, 0, 0, 0), 'x, y, width, height in pixels')
