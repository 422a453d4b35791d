"""What one would use instead, in PyTorch: fine-tuning and LoRA, of all layers or of the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
import torch
from torch import nn

METHODS = ('FT-All', 'FT-Last', 'LoRA-All', 'LoRA-Last')
BATCH = 20
RANK = 4


@dataclass(frozen=True)
class Setting:
    """How to descend; decay: linearly to 0."""

    optimizer: str
    rate: float
    decay: bool


#: Every method is tuned over the same settings; the report tells where the best is at an edge.
RATES = {'adam': (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
         'sgd': (0.02, 0.05, 0.1, 0.2, 0.5)}
SETTINGS = tuple(Setting(optimizer, rate, decay)
                 for optimizer, rates in RATES.items() for rate in rates
                 for decay in (True, False))


class LeNet5(nn.Module):
    """The backbone, with the weights of its ONNX file, and what a method trains."""

    def __init__(self, weights: Path, method: str, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.load_state_dict({each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
                              for each in onnx.load(str(weights)).graph.initializer})
        last, everything = (self.fc3,), (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3)
        trained = last if method.endswith('Last') else everything
        self.requires_grad_(False)
        if method.startswith('FT'):
            for layer in trained:
                layer.requires_grad_(True)
        else:
            for layer in trained:
                nn.utils.parametrize.register_parametrization(layer, 'weight',
                                                              LowRank(layer.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits (N, 10) of images (N, 1, 28, 28)."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class LowRank(nn.Module):
    """LoRA by hand: weight + B A (Hu et al., arXiv 2106.09685), B zero at the start."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(RANK, rows, columns)
        self.a = nn.Parameter(torch.randn(rank, columns) * columns ** -0.5)
        self.b = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Give the adapted weight."""
        return weight + (self.b @ self.a).view_as(weight)


def tensor(images: np.ndarray) -> torch.Tensor:
    """Make network inputs of images (N, 28, 28) uint8."""
    return torch.from_numpy(images.astype(np.float32) / 255.0).unsqueeze(1)


def train(network: nn.Module, images: np.ndarray, labels: np.ndarray, setting: Setting,
          epochs: int, seed: int) -> Iterator[int]:
    """Train; gives the number of each epoch after it."""
    x, y = tensor(images), torch.from_numpy(labels)
    parameters = [each for each in network.parameters() if each.requires_grad]
    optimizer = (torch.optim.Adam if setting.optimizer == 'adam' else torch.optim.SGD)(
        parameters, lr=setting.rate)
    steps, step = epochs * -(-len(y) // BATCH), 0
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(y), generator=generator).split(BATCH):
            if setting.decay:
                optimizer.param_groups[0]['lr'] = setting.rate * (1 - step / steps)
            loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        yield epoch


def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Give the accuracy in percent."""
    network.eval()
    with torch.no_grad():
        right = network(tensor(images)).argmax(1).numpy() == labels
    return 100.0 * float(right.mean())
