"""A rosbag2 bag as a source; rosbags reads it, so ROS need not be installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from instantft_ros.core import messages
from instantft_ros.core.corrections import Answer
from instantft_ros.core.errors import ImageError, SourceError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.core.images import ImageReader
from instantft_ros.evaluate.interfaces import (
    COMPRESSED,
    CORRECTION,
    IMAGE,
    TRUTHS,
    type_store,
)
from instantft_ros.evaluate.source import Corrected, Event, Frame, Truth, Unreadable


@dataclass(frozen=True)
class TopicChoice:
    """
    Which topics to read, None or empty: all of the type.

    images: topics, or `camera=topic` where corrections name the camera.
    """

    images: Sequence[str] = ()
    corrections: str | None = None
    ground_truth: str | None = None


class BagSource:
    """
    Replays images, corrections and ground truth in the order in which they were recorded.

    The views are the image topics, or the cameras that `TopicChoice` names them. Where there is
    one view, every correction is of it, whatever camera it names. Raises `SourceError` when the
    bag cannot be opened or lacks a topic.
    """

    axis = 'time, s'

    def __init__(self, path: Path, choice: TopicChoice) -> None:
        self._path = path
        self._store = type_store()
        self._images = ImageReader(None)
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # rosbags lets through what its many parsers raise
            raise SourceError(f'{path} cannot be read as a bag: {_why(error)}'
                              f'{_advice(path)}') from error
        try:
            self._views = self._choose_images(choice.images)
            self._corrections = self._choose('corrections', choice.corrections, (CORRECTION,))
            self._truths = self._choose('ground truth', choice.ground_truth, TRUTHS)
            if not self._corrections and not self._truths:
                raise SourceError(f'{path} has nothing to judge by: neither corrections '
                                  f'({CORRECTION}) nor ground truth ({" or ".join(TRUTHS)}); '
                                  f'{self._topics()}')
            self._check_definitions()
        except SourceError:
            self.close()
            raise
        self.views = tuple(self._views.values())
        chosen = {*self._views, *self._corrections, *self._truths}
        kinds = {IMAGE, COMPRESSED, CORRECTION, *TRUTHS}
        self._connections = [each for each in self._reader.connections
                             if each.topic in chosen and each.msgtype in kinds]
        self.total = sum(each.msgcount for each in self._connections)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def events(self) -> Iterator[Event]:
        """Give everything in its order; raises `SourceError` where the bag is torn."""
        recorded = self._reader.messages(self._connections)
        read, start_ns = 0, None
        while (each := self._next(recorded, read)) is not None:
            connection, time_ns, data = each
            read += 1
            start_ns = time_ns if start_ns is None else start_ns
            yield self._event(connection, time_ns, (time_ns - start_ns) / 1e9, data)
        if read < self.total:
            raise SourceError(f'{self._path} is torn: of the {self.total} messages that it '
                              f'should hold of these topics only {read} are there')

    def _next(self, recorded: Iterator[tuple[Connection, int, bytes]],
              read: int) -> tuple[Connection, int, bytes] | None:
        try:
            return next(recorded, None)
        except Exception as error:  # of sqlite, zstd, lz4, struct: the file is torn or damaged
            raise SourceError(f'{self._path} is torn after {read} of {self.total} messages: '
                              f'{_why(error)}') from error

    def _event(self, connection: Connection, time_ns: int, position: float,
               data: bytes) -> Event:
        what = ('correction' if connection.topic in self._corrections else
                'ground truth' if connection.topic in self._truths else 'image')
        try:
            message: Any = self._store.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # a damaged message raises more than rosbags' own error
            return Unreadable(what, f'a message of {connection.topic} is damaged: '
                              f'{_why(error)}')
        try:
            if what == 'correction':
                read = messages.correction(message, self._view(message), time_ns)
                return Unreadable(what, read.reason) if isinstance(read, Answer) \
                    else Corrected(read, position)
            stamp_ns = messages.nanoseconds(message.header.stamp)
            if what == 'ground truth':
                return Truth(FrameId(self._view(message), stamp_ns),
                             messages.class_label(message))
            return Frame(FrameId(self._views[connection.topic], stamp_ns), position,
                         self._images.read(message))
        except (ImageError, SourceError) as error:
            return Unreadable(what, str(error))

    def _view(self, message: Any) -> str:
        return self.views[0] if len(self.views) == 1 else str(message.camera)

    def _choose_images(self, wanted: Sequence[str]) -> dict[str, str]:
        """Give the image topics, each with the name of its view."""
        views: dict[str, str] = {}
        for each in wanted:
            camera, _, topic = each.rpartition('=')
            (topic,) = self._choose('images', topic, (IMAGE, COMPRESSED))
            views[topic] = camera or topic
        if not wanted:
            topics = self._choose('images', None, (IMAGE, COMPRESSED))
            views = {topic: topic for topic in topics
                     # what the classifier itself drew, and a second copy of the same images
                     if 'annotated' not in topic.split('/')
                     and topic.removesuffix('/compressed') not in topics - {topic}}
        if not views:
            raise SourceError(f'{self._path} has no topic with images; {self._topics()}')
        if len(set(views.values())) < len(views):
            raise SourceError(f'two image topics have the same camera: {views}')
        return views

    def _choose(self, what: str, wanted: str | None, kinds: Sequence[str]) -> set[str]:
        """Give the topic that is wanted, or every one of these types."""
        topics = {each.topic: each.msgtype for each in self._reader.connections}
        if wanted is None:
            return {topic for topic, kind in topics.items() if kind in kinds}
        topic = '/' + wanted.lstrip('/')
        if topic not in topics:
            raise SourceError(f'{self._path} has no topic {topic} for {what}; {self._topics()}')
        if topics[topic] not in kinds:
            raise SourceError(f'topic {topic} for {what} must carry {" or ".join(kinds)}, '
                              f'it carries {topics[topic]}')
        return {topic}

    def _check_definitions(self) -> None:
        """Refuse messages of ours that were recorded with other fields than they have now."""
        for each in self._reader.connections:
            if each.topic not in self._corrections | self._truths:
                continue
            if each.msgtype not in self._store.fielddefs:
                raise SourceError(f'topic {each.topic} carries {each.msgtype}, which this '
                                  'version of instantft_ros does not have')
            if each.digest and each.digest != self._store.hash_rihs01(each.msgtype):
                raise SourceError(f'topic {each.topic} was recorded with another version of '
                                  f'{each.msgtype} than this one of instantft_ros')

    def _topics(self) -> str:
        topics = sorted(f'{each.topic} ({each.msgtype})' for each in self._reader.connections)
        return f'its topics are {", ".join(topics)}' if topics else 'it has no topics'


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _advice(path: Path) -> str:
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        return " ('ros2 bag reindex' writes the metadata.yaml of a recording that was cut off)"
    return ''
