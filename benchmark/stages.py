"""Where a frame's time goes in the classifier: microseconds per stage, 640 x 480 bgr8."""

from __future__ import annotations

from array import array
from collections.abc import Callable
import json
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.features import FeatureRecord
from instantft_ros.core.images import cv_bridge, ImageReader
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.msg import Prediction
from instantft_ros.nodes import qos
from instantft_ros.pipeline import RANK, softmax

REPEATS = 500


def main() -> None:
    """Measure every stage by itself and write the medians."""
    backbone = Backbone(DEFAULT_MANIFEST)
    adapter = Adapter.initial(backbone.layout, backbone.digest, RANK)
    frame = Belt(1, Drift()).frame(0)
    message = Image(height=480, width=640, encoding='bgr8', step=1920,
                    data=array('B', frame.tobytes()))
    wire = serialize_message(message)
    reader = ImageReader(cv_bridge())
    image = reader.read(message)
    blob = backbone.preprocess(image, Region(*STATION))
    features = backbone.features(blob)
    scores = softmax(adapter(features.x, features.logits))
    rclpy.init()
    node = rclpy.create_node('stages')
    publisher = node.create_publisher(Prediction, 'predictions', qos.predictions())

    def publish() -> None:
        publisher.publish(Prediction(header=message.header, camera='camera', class_id=1,
                                     class_name='trouser', confidence=float(scores[1]),
                                     scores=array('f', scores.tobytes())))

    stages: dict[str, Callable[[], Any]] = {
        'receive (deserialize)': lambda: deserialize_message(wire, Image),
        'convert': lambda: reader.read(message),
        'preprocess': lambda: backbone.preprocess(image, Region(*STATION)),
        'network': lambda: backbone.features(blob),
        'adapter and softmax': lambda: softmax(adapter(features.x, features.logits)),
        'quantize': lambda: FeatureRecord.of(features, backbone.layout),
        'publish': publish,
    }
    medians = {name: _median_us(stage) for name, stage in stages.items()}
    node.destroy_node()
    rclpy.shutdown()
    Path(sys.argv[1]).write_text(json.dumps(medians, indent=1) + '\n')


def _median_us(stage: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        stage()
        times.append(1e6 * (time.perf_counter() - started))
    return float(np.median(times))


if __name__ == '__main__':
    main()
