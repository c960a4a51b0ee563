"""Linear layers that share an input."""

import torch as th
from torch import nn

from modules.mixers.linear import shared_linear


def test_each_layer_gives_its_own_output_of_the_shared_entries():
    inputs, layers = th.randn(2, 5, 4), [nn.Linear(4, 3), nn.Linear(7, 2)]
    first, second = shared_linear(inputs, layers)
    th.testing.assert_close(first, layers[0](inputs))
    th.testing.assert_close(second, layers[1](th.cat([inputs, th.zeros(2, 5, 3)], -1)))
