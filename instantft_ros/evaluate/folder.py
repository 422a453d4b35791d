"""A folder of labelled images as a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import csv
from pathlib import Path

import numpy as np

from instantft_ros.core.errors import ImageError, SourceError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.core.images import decode
from instantft_ros.evaluate.source import Event, Frame, Truth, Unreadable

SUFFIXES = frozenset({'.png', '.jpg', '.jpeg'})
LABELS = 'labels.csv'

#: A file with more bytes is no camera image.
MAX_FILE_BYTES = 256 << 20


class FolderSource:
    """
    Gives the images in the order of their file names, one frame each.

    Either labels.csv with the columns `file` and `label` says what they show, or one subfolder
    for each class. Raises `SourceError` for a folder without images or with unknown classes.
    """

    views: tuple[str, ...] = ('images',)
    axis = 'frame'

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        try:
            labelled = (_from_table(path) if (path / LABELS).is_file() else
                        _from_subfolders(path))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f'{path} cannot be read: {error}') from error
        if not labelled:
            raise SourceError(f'{path} is no bag (it has no metadata.yaml) and has no images: '
                              f'wanted {LABELS}, or subfolders with {"/".join(sorted(SUFFIXES))} '
                              f'files named as the classes are, {list(classes)}')
        for file, label in labelled:
            if label not in classes:
                raise SourceError(f"{file} has the label '{label}', the classes are "
                                  f'{list(classes)}')
        self._files = sorted(labelled, key=lambda each: (each[0].name, each[0]))
        self.total = 2 * len(self._files)

    def close(self) -> None:
        """Nothing is open."""

    def events(self) -> Iterator[Event]:
        """Give each image after what it shows."""
        for index, (file, label) in enumerate(self._files):
            frame = FrameId(self.views[0], index)
            yield Truth(frame, label)
            try:
                yield Frame(frame, float(index), _read(file))
            except ImageError as error:
                yield Unreadable('image', f'{file}: {error}')


def _from_table(folder: Path) -> list[tuple[Path, str]]:
    with (folder / LABELS).open(newline='', encoding='utf-8-sig') as stream:
        rows = csv.DictReader(stream)
        if not {'file', 'label'} <= set(rows.fieldnames or ()):
            raise SourceError(f'{folder / LABELS} must have the columns file and label, it has '
                              f'{rows.fieldnames}')
        return [(folder / (row['file'] or ''), row['label'] or '') for row in rows]


def _from_subfolders(folder: Path) -> list[tuple[Path, str]]:
    return [(file, file.parent.name) for file in folder.glob('[!.]*/*')
            if file.suffix.lower() in SUFFIXES]


def _read(file: Path) -> np.ndarray:
    try:
        with file.open('rb') as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ImageError(f'cannot be read: {error}') from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f'more than {MAX_FILE_BYTES} bytes are not read')
    return decode(data, file.suffix)
