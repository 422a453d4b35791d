"""The package's own messages, as rosbags reads and writes them without ROS."""

from __future__ import annotations

import os
from pathlib import Path

from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from instantft_ros.core.errors import SourceError

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CORRECTION = 'instantft_ros/msg/Correction'
#: What a frame really shows; the second is what the demo's camera publishes.
TRUTHS = ('instantft_ros/msg/GroundTruth', 'instantft_ros/msg/Label')

_PACKAGE = Path(__file__).resolve().parents[1]

#: Where the .msg files are: a source tree, `pip install`, a ROS installation.
_FOLDERS = (_PACKAGE.parent / 'msg', _PACKAGE / 'interfaces', *(
    Path(prefix) / 'share' / 'instantft_ros' / 'msg'
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)))


def type_store() -> Typestore:
    """Give ROS 2's types and ours; raises `SourceError` when our .msg files are not installed."""
    folder = next((each for each in _FOLDERS if (each / 'Correction.msg').is_file()), None)
    if folder is None:
        raise SourceError('the package was installed without its .msg files, looked for in '
                          + ', '.join(map(str, _FOLDERS)))
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in (CORRECTION, *TRUTHS):
        file = folder / f'{name.rsplit("/", 1)[1]}.msg'
        if file.is_file():
            store.register(get_types_from_msg(file.read_text(), name))
    return store
