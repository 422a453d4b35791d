"""Recordings of the demo's belt after its drift, as a robot would have made them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.evaluate import interfaces


@dataclass(frozen=True)
class Recorded:
    """One message of a bag: topic and type, when it came, and what it says or its bytes."""

    topic: str
    kind: str
    time_ns: int
    message: Any


class Recording:
    """Makes the messages of a bag: frame i of the belt at second i / 30."""

    images, corrections, truths = '/image_raw', '/corrections', '/labels'
    start_ns, rate_hz = 1_700_000_000_000_000_000, 30

    def __init__(self, belt: Belt) -> None:
        self.belt, self.store = belt, interfaces.type_store()
        self.types = self.store.types
        self.truth_type = next(name for name in interfaces.TRUTHS if name in self.types)

    def pixels(self, index: int) -> np.ndarray:
        """Give what the camera sees of the station, small, so that the tests are quick."""
        x, y, width, height = STATION
        garment = self.belt.frame(index)[y:y + height, x:x + width]
        return cv2.resize(garment, (112, 112), interpolation=cv2.INTER_AREA)

    def time_ns(self, index: float) -> int:
        return self.start_ns + round(index * 1e9 / self.rate_hz)

    def stamp(self, index: float) -> Any:
        return self.types['builtin_interfaces/msg/Time'](*divmod(self.time_ns(index), 10**9))

    def header(self, index: float) -> Any:
        return self.types['std_msgs/msg/Header'](self.stamp(index), '')

    def image(self, index: int, topic: str = images, pixels: np.ndarray | None = None,
              **changes: Any) -> Recorded:
        pixels = self.pixels(index) if pixels is None else pixels
        values = {'header': self.header(index), 'height': pixels.shape[0],
                  'width': pixels.shape[1], 'encoding': 'bgr8', 'is_bigendian': 0,
                  'step': 3 * pixels.shape[1], 'data': pixels.reshape(-1)} | changes
        return Recorded(topic, interfaces.IMAGE, self.time_ns(index),
                        self.types[interfaces.IMAGE](**values))

    def compressed(self, index: int, topic: str = f'{images}/compressed') -> Recorded:
        data = cv2.imencode('.png', self.pixels(index))[1].reshape(-1)
        return Recorded(topic, interfaces.COMPRESSED, self.time_ns(index),
                        self.types[interfaces.COMPRESSED](self.header(index), 'png', data))

    def correction(self, index: int, after: float, **changes: Any) -> Recorded:
        """Say what frame `index` really shows, so many frames after it."""
        values = {'header': self.header(index + after), 'id': '', 'operator_id': '',
                  'camera': 'camera', 'operation': 0, 'selector': 0, 'stamp': self.stamp(index),
                  'stamp_end': self.stamp(index), 'region': '',
                  'tolerance': self.types['builtin_interfaces/msg/Duration'](0, 0),
                  'class_name': '',
                  'class_id': self.belt.label(index)} | changes
        return Recorded(self.corrections, interfaces.CORRECTION, self.time_ns(index + after),
                        self.types[interfaces.CORRECTION](**values))

    def truth(self, index: int, camera: str = 'camera') -> Recorded:
        return Recorded(self.truths, self.truth_type, self.time_ns(index),
                        self.types[self.truth_type](
                            header=self.header(index), camera=camera,
                            class_id=self.belt.label(index), class_name='',
                            object_id=index + 1))

    def write(self, path: Path, recorded: list[Recorded],
              storage: str = 'sqlite3') -> Path:
        """Write a bag, in the order of time."""
        plugin = StoragePlugin[storage.upper()]
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            connections: dict[str, Any] = {}
            for each in sorted(recorded, key=lambda each: each.time_ns):
                if each.topic not in connections:
                    connections[each.topic] = writer.add_connection(
                        each.topic, each.kind, typestore=self.store)
                data = (each.message if isinstance(each.message, bytes) else
                        self.store.serialize_cdr(each.message, each.kind))
                writer.write(connections[each.topic], each.time_ns, data)
        return path


@pytest.fixture(scope='session')
def recording() -> Recording:
    """Of a belt with all its drift, a new garment in every frame."""
    return Recording(Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1))
