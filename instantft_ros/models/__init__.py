"""The networks that ship with the package."""

from pathlib import Path

#: LeNet-5 for Fashion-MNIST, what the demo uses and the classifier's default.
DEFAULT_MANIFEST = Path(__file__).parent / 'lenet5_fashion_mnist' / 'manifest.json'
