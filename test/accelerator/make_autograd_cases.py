"""
Compute with PyTorch's autograd what the reference trainer must give; writes autograd_cases.npz.

Needs the `training` extra. The cases are committed, so that the tests need no PyTorch.
"""

from pathlib import Path

import numpy as np
import torch

CASES = (((5,), 2, 1, 1), ((3, 4), 3, 2, 5), ((7, 1, 6), 10, 4, 20), ((16,), 4, 3, 8))


def main() -> None:
    arrays = {}
    for number, (sizes, classes, rank, count) in enumerate(CASES):
        generator = torch.Generator().manual_seed(number)

        def normal(*shape, generator=generator):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        x, logits = normal(count, sum(sizes)), normal(count, classes)
        labels = torch.randint(classes, (count,), generator=generator)
        a = normal(rank, sum(sizes)).requires_grad_()
        b = normal(classes, len(sizes), rank).requires_grad_()
        z, start = logits.clone(), 0
        for k, size in enumerate(sizes):
            tap = slice(start, start + size)
            z = z + x[:, tap] @ a[:, tap].T @ b[:, k].T
            start += size
        loss = torch.nn.functional.cross_entropy(z, labels)
        loss.backward()
        for name, value in {'x': x, 'logits': logits, 'labels': labels, 'a': a, 'b': b,
                            'loss': loss, 'grad_a': a.grad, 'grad_b': b.grad,
                            'sizes': torch.tensor(sizes)}.items():
            arrays[f'{number}_{name}'] = value.detach().numpy()
    np.savez_compressed(Path(__file__).parent / 'autograd_cases.npz', **arrays)


if __name__ == '__main__':
    main()
