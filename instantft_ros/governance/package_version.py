"""The version of this package, as package.xml has it."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
import os
from pathlib import Path
from xml.etree import ElementTree

_SOURCE = Path(__file__).resolve().parents[2]

#: Where package.xml is: a source tree, a ROS installation.
_FOLDERS = (_SOURCE, *(Path(prefix) / 'share' / 'instantft_ros' for prefix
                       in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)))


def package_version() -> str:
    """Give the version, '' when the package was installed without telling it."""
    for folder in _FOLDERS:
        with suppress(OSError, ElementTree.ParseError):
            root = ElementTree.parse(folder / 'package.xml').getroot()
            if root.findtext('name') == 'instantft_ros':
                return root.findtext('version') or ''
    with suppress(metadata.PackageNotFoundError):  # pip install
        return metadata.version('instantft_ros')
    return ''
