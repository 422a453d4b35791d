"""Recordings of the demo's belt after its drift, as a robot would have made them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from instantft_ros.core.backbone import Region
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.evaluate import interfaces

TRUTH = next(name for name in interfaces.TRUTHS
             if (Path(__file__).parents[2] / 'msg' / f'{name.rsplit("/", 1)[1]}.msg').exists())
IMAGES, CORRECTIONS, TRUTHS = '/image_raw', '/corrections', '/labels'
RATE_HZ, START_NS = 30, 1_700_000_000_000_000_000
REGION = ['--region', *map(str, STATION)]


@dataclass(frozen=True)
class Recorded:
    """One message of a bag: its topic and type, when it came, and what it says."""

    topic: str
    kind: str
    time_ns: int
    message: Any


@pytest.fixture(scope='session')
def belt() -> Belt:
    """The belt with all its drift, a new garment in every frame."""
    return Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), rate_hz=RATE_HZ, dwell=1)


@pytest.fixture(scope='session')
def region() -> Region:
    return Region(*STATION)


class Recording:
    """Makes the messages of a bag."""

    def __init__(self, belt: Belt) -> None:
        self.belt, self.store = belt, interfaces.type_store()
        self.types = self.store.types

    def stamp(self, index: int) -> Any:
        time_ns = START_NS + index * 1_000_000_000 // RATE_HZ
        return self.types['builtin_interfaces/msg/Time'](time_ns // 10**9, time_ns % 10**9)

    def header(self, index: int) -> Any:
        return self.types['std_msgs/msg/Header'](self.stamp(index), 'camera')

    def time_ns(self, index: float) -> int:
        return START_NS + round(index * 1e9 / RATE_HZ)

    def image(self, index: int, topic: str = IMAGES, **changes: Any) -> Recorded:
        pixels = self.belt.frame(index)
        values = {'header': self.header(index), 'height': pixels.shape[0],
                  'width': pixels.shape[1], 'encoding': 'bgr8', 'is_bigendian': 0,
                  'step': 3 * pixels.shape[1], 'data': pixels.reshape(-1)} | changes
        return Recorded(topic, interfaces.IMAGE, self.time_ns(index),
                        self.types[interfaces.IMAGE](**values))

    def compressed(self, index: int, topic: str = f'{IMAGES}/compressed') -> Recorded:
        data = cv2.imencode('.png', self.belt.frame(index))[1].reshape(-1)
        return Recorded(topic, interfaces.COMPRESSED, self.time_ns(index),
                        self.types[interfaces.COMPRESSED](self.header(index), 'png', data))

    def correction(self, index: int, after: float, **changes: Any) -> Recorded:
        """Correct frame `index` so many frames after it."""
        values = {'header': self.types['std_msgs/msg/Header'](self.stamp(0), ''), 'id': '',
                  'operator_id': 'test', 'camera': 'camera', 'operation': 0, 'selector': 0,
                  'stamp': self.stamp(index), 'stamp_end': self.stamp(index), 'class_name': '',
                  'class_id': self.belt.label(index)} | changes
        return Recorded(CORRECTIONS, interfaces.CORRECTION, self.time_ns(index + after),
                        self.types[interfaces.CORRECTION](**values))

    def truth(self, index: int) -> Recorded:
        return Recorded(TRUTHS, TRUTH, self.time_ns(index), self.types[TRUTH](
            self.header(index), 'camera', self.belt.label(index), '', 1))

    def write(self, path: Path, recorded: list[Recorded],
              storage: StoragePlugin = StoragePlugin.SQLITE3) -> Path:
        """Write a bag in the order of time."""
        with Writer(path, version=9, storage_plugin=storage) as writer:
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
def recording(belt) -> Recording:
    return Recording(belt)
