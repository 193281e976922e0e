"""Micro-batches hold every text once; gradient caching gives the gradients of a plain backward pass."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semsearch.training.step import loss
from semsearch.training.step.batching import MicroBatch, backward, micro_batches


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 400))
def test_micro_batches_hold_each_text_once_within_the_budget(lengths, budget):
    batches = micro_batches(lengths, budget)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(lengths)))
    for batch in batches:
        assert batch.tokens == max(lengths[i] for i in batch.rows) * len(batch.rows)
        assert batch.tokens <= budget or len(batch.rows) == 1


def problem(dropout):
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(16, 5)
    )
    inputs = torch.randn(12, 6)
    groups = loss.group([(3 * i, 3 * i + 1, (3 * i + 2,)) for i in range(4)], [str(i) for i in range(12)])
    batches = [MicroBatch(tuple(range(i, min(i + 5, 12))), 5) for i in range(0, 12, 5)]
    return model, inputs, groups, batches


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("keep", [0, 7, 1000])
def test_gradient_cache_equals_a_plain_backward(keep):
    model, inputs, groups, batches = problem(0.0)
    plain = loss.contrastive(model(inputs), groups, 0.05)
    plain.backward()
    expected = gradients(model)
    model.zero_grad()
    value = backward(
        lambda b: model(inputs[list(b.rows)]), batches, (12, 5), lambda v: loss.contrastive(v, groups, 0.05),
        keep_tokens=keep,
    )  # fmt: skip
    assert value == pytest.approx(plain.item(), rel=1e-5)
    for seen, wanted in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-4, atol=1e-6)


def test_dropout_is_the_same_in_both_passes():
    model, inputs, groups, batches = problem(0.5)
    results = []
    for keep in (0, 1000):  # all computed twice, all kept
        model.zero_grad()
        value = backward(
            lambda b: model(inputs[list(b.rows)]), batches, (12, 5), lambda v: loss.contrastive(v, groups, 0.05),
            keep_tokens=keep, seed=9,
        )  # fmt: skip
        results.append((value, gradients(model)))
    assert results[0][0] == results[1][0]
    for seen, wanted in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-7)


def test_another_seed_draws_another_dropout():
    model, inputs, groups, batches = problem(0.5)
    values = {
        backward(
            lambda b: model(inputs[list(b.rows)]), batches, (12, 5), lambda v: loss.contrastive(v, groups, 0.05),
            keep_tokens=0, seed=seed,
        )
        for seed in (1, 2)
    }  # fmt: skip
    assert len(values) == 2
