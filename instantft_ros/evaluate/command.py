"""
The command `instantft evaluate`: what corrections would have gained on a recording.

Replays a rosbag2 bag, or a folder of labelled images, through the same pipeline as the node,
faster than real time, and compares it with the frozen network on the same frames
(doc/evaluate.md). ROS need not be installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
import importlib
from pathlib import Path
import sys

import cv2

from instantft_ros.accelerator import registry
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.errors import InstantFTError, SourceError
from instantft_ros.evaluate import report
from instantft_ros.evaluate.folder import FolderSource
from instantft_ros.evaluate.judgement import judge
from instantft_ros.evaluate.progress import Progress
from instantft_ros.evaluate.replay import Log, Replay
from instantft_ros.evaluate.settings import make_pipeline, Settings, training_policy
from instantft_ros.evaluate.simulated_operator import OperatorPolicy, SimulatedOperator
from instantft_ros.evaluate.source import Source
from instantft_ros.models import DEFAULT_MANIFEST

#: What the names of a bag's files end in.
BAG_SUFFIXES = ('.db3', '.mcap')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('source', type=Path, metavar='SOURCE',
                        help='a bag (folder, .mcap or .db3), or a folder with one subfolder of '
                             'images per class, or with labels.csv (columns file, label)')
    parser.add_argument('--out', type=Path, default=Path('out/evaluation'),
                        help='folder for evaluation.json, predictions.csv and accuracy.png '
                             '(default: %(default)s)')
    network = parser.add_argument_group('network and training')
    network.add_argument('--manifest', type=Path, default=DEFAULT_MANIFEST,
                         help="the network's manifest.json (default: the LeNet-5 for "
                              'Fashion-MNIST that ships with the package)')
    network.add_argument('--region', type=int, nargs=4, metavar=('X', 'Y', 'W', 'H'),
                         help='the part of every image to classify, in pixels (default: all)')
    network.add_argument('--rank', type=_within(1, 64), default=0,
                         help="rank of the adapter, 1 to 64 (default: the node's)")
    network.add_argument('--max-classes', type=_within(0, 4096), default=0, metavar='N',
                         help='corrections may add classes, up to so many (default: none)')
    network.add_argument('--backend', default='cpu', choices=sorted(registry.BACKENDS),
                         help='what trains (default: %(default)s)')
    network.add_argument('--max-frames', type=_within(1, 2**31), metavar='N',
                         help='stop after so many images')
    bag = parser.add_argument_group('bags')
    bag.add_argument('--images', action='append', default=[], metavar='[CAMERA=]TOPIC',
                     help='topic with images, repeatable; with several cameras also the name '
                          'that corrections give this one (default: every topic with images, '
                          'but the annotated ones)')
    bag.add_argument('--corrections', metavar='TOPIC',
                     help='topic with corrections (default: every one of that type)')
    bag.add_argument('--ground-truth', metavar='TOPIC',
                     help='topic with ground truth (default: every one of that type)')
    folder = parser.add_argument_group('folders of images: the simulated operator')
    folder.add_argument('--reaction-frames', type=_within(0, 10_000), metavar='N',
                        default=OperatorPolicy.reaction_frames,
                        help='frames from a wrong prediction to its correction (default: '
                             '%(default)s)')
    folder.add_argument('--frames-per-correction', type=_within(1, 1_000_000), metavar='N',
                        default=OperatorPolicy.frames_per_correction,
                        help='correct at most one of so many frames (default: %(default)s)')


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, and say in one line what is wrong if that cannot be; an exit code."""
    try:
        _evaluate(arguments)
    except (InstantFTError, OSError) as error:
        print(f'instantft evaluate: {" ".join(str(error).split())}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('instantft evaluate: interrupted, nothing was written', file=sys.stderr)
        return 130
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    _need('matplotlib')
    cv2.setNumThreads(1)  # as the node does: the network is small
    backbone = Backbone(arguments.manifest)
    classes = backbone.manifest.classes
    with closing(registry.create(arguments.backend)) as accelerator, \
            closing(_open(arguments, classes)) as source:
        if accelerator.notice:
            print(accelerator.notice)
        arguments.out.mkdir(parents=True, exist_ok=True)
        pipeline = make_pipeline(
            backbone, source.views, accelerator,
            Settings(arguments.rank, max_classes=arguments.max_classes))
        replay = Replay(
            pipeline, accelerator, training_policy(accelerator.limits),
            Region(*arguments.region) if arguments.region else None,
            SimulatedOperator(source.views[0], OperatorPolicy(
                arguments.reaction_frames, arguments.frames_per_correction))
            if isinstance(source, FolderSource) else None)
        log = _replay(source, replay, arguments.max_frames)
    if not log.seen:
        reason = next(iter(log.rejected), 'there is none')
        raise SourceError(f'{arguments.source}: no image could be classified of {log.frames}: '
                          f'{reason}')
    judged, classes = judge(log), pipeline.classes.names
    result = {'format': 1, 'source': str(arguments.source), 'axis': source.axis,
              'network': backbone.manifest.name, 'backbone': backbone.digest,
              'backend': arguments.backend} | report.figures(log, judged, classes)
    report.write(arguments.out, result, log, judged, classes, source.axis)
    print(report.table(result))
    print(f'wrote {arguments.out}/evaluation.json, predictions.csv, accuracy.png')


def _open(arguments: argparse.Namespace, classes: tuple[str, ...]) -> Source:
    path: Path = arguments.source
    if not path.exists():
        raise SourceError(f'{path} does not exist')
    if path.is_dir() and not (path / 'metadata.yaml').exists() \
            and not any(file.suffix in BAG_SUFFIXES for file in path.iterdir()):
        if arguments.images or arguments.corrections or arguments.ground_truth:
            raise SourceError(f'{path} is no bag (it has no metadata.yaml), so it has no topics')
        return FolderSource(path, classes)
    _need('rosbags.rosbag2')
    from instantft_ros.evaluate.bag import BagSource, TopicChoice
    return BagSource(path, TopicChoice(arguments.images, arguments.corrections,
                                       arguments.ground_truth))


def _replay(source: Source, replay: Replay, max_frames: int | None) -> Log:
    progress = Progress(source.total)
    for event in source.events():
        replay.take(event)
        progress.step(replay.log.frames, len(replay.log.swaps_at))
        if max_frames is not None and replay.log.frames >= max_frames:
            break
    return replay.log


def _need(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        package = module.split('.')[0]
        raise SourceError(f"{package} is needed: pip install '.[evaluate]', or pip install "
                          f'{package} ({error})') from error


def _within(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be in [{low}, {high}], got '{text}'")
        return value

    return parse
