"""Pooling against plain indexing, whichever side is padded."""

import pytest
import torch

from indexer.embedding.forward.pooling import pool

HIDDEN = torch.arange(2 * 4 * 3, dtype=torch.float32).reshape(2, 4, 3)
RIGHT = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
LEFT = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])


@pytest.mark.parametrize(("mask", "first", "last"), [(RIGHT, 0, 1), (LEFT, 2, 3)])
def test_positions(mask: torch.Tensor, first: int, last: int) -> None:
    assert torch.equal(pool(HIDDEN, mask, "cls"), torch.stack([HIDDEN[0, first], HIDDEN[1, 0]]))
    assert torch.equal(pool(HIDDEN, mask, "last"), torch.stack([HIDDEN[0, last], HIDDEN[1, 3]]))
    expected = torch.stack([HIDDEN[0, first : last + 1].mean(0), HIDDEN[1].mean(0)])
    torch.testing.assert_close(pool(HIDDEN, mask, "mean"), expected)


def test_a_mask_token_in_the_text_does_not_displace_the_templates() -> None:
    """The template's stands after the text, so it is the last."""
    at_mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1]])
    assert torch.equal(pool(HIDDEN, at_mask, "mask"), torch.stack([HIDDEN[0, 2], HIDDEN[1, 3]]))


def test_mean_is_summed_in_fp32() -> None:
    ones = torch.ones(1, 5000, 1, dtype=torch.bfloat16) * 1.0078125  # 1 + 2^-7: a bf16 sum would stop growing
    assert pool(ones, torch.ones(1, 5000), "mean").item() == 1.0078125
