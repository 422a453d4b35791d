from pathlib import Path

import numpy as np
import pytest

from instantft_ros.accelerator.numpy_reference import gradients
from instantft_ros.core.features import FeatureLayout

CASES = np.load(Path(__file__).parent / 'autograd_cases.npz')


@pytest.mark.parametrize('number', range(4))
def test_equal_to_pytorch_autograd(number):
    case = {name.split('_', 1)[1]: CASES[name] for name in CASES.files
            if name.startswith(f'{number}_')}
    layout = FeatureLayout(tuple(case['sizes'].tolist()), case['b'].shape[0])
    loss, grad_a, grad_b = gradients(layout, case['a'], case['b'], case['x'], case['logits'],
                                     case['labels'])
    assert loss == pytest.approx(float(case['loss']), rel=1e-12)
    np.testing.assert_allclose(grad_a, case['grad_a'], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(grad_b, case['grad_b'], rtol=1e-10, atol=1e-14)


def test_equal_to_finite_differences():
    layout, count, rank = FeatureLayout((4, 3), 3), 6, 2
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rank, 7)), rng.normal(size=(3, 2, rank))
    x, logits = rng.normal(size=(count, 7)), rng.normal(size=(count, 3))
    labels = rng.integers(0, 3, count)
    _, grad_a, grad_b = gradients(layout, a, b, x, logits, labels)
    step = 1e-6
    for weights, gradient in ((a, grad_a), (b, grad_b)):
        for index in np.ndindex(weights.shape):
            kept = weights[index]
            weights[index] = kept + step
            above = gradients(layout, a, b, x, logits, labels)[0]
            weights[index] = kept - step
            below = gradients(layout, a, b, x, logits, labels)[0]
            weights[index] = kept
            assert gradient[index] == pytest.approx((above - below) / (2 * step), abs=1e-8)
