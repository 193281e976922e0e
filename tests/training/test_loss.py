"""The contrastive loss against the formula written out, and what it masks."""

import math

import pytest
import torch

from semsearch.training.step import loss


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def written_out(vectors, rows, tau):
    """Equation 2 with loops."""
    total = 0.0
    for anchor, positive, _ in rows:
        own = math.exp(cosine(vectors[anchor], vectors[positive]) / tau)
        below = 0.0
        for _, other, negatives in rows:
            below += math.exp(cosine(vectors[anchor], vectors[other]) / tau)
            below += sum(math.exp(cosine(vectors[anchor], vectors[n]) / tau) for n in negatives)
        total -= math.log(own / below)
    return total / len(rows)


@pytest.mark.parametrize("hard", [True, False])
def test_loss_is_equation_2(hard):
    torch.manual_seed(0)
    vectors = torch.randn(12, 7)
    rows = [(3 * i, 3 * i + 1, (3 * i + 2,) if hard else ()) for i in range(4)]
    groups = loss.group(rows, [f"text {i}" for i in range(12)])
    assert float(loss.contrastive(vectors, groups, 0.05)) == pytest.approx(written_out(vectors, rows, 0.05), rel=1e-4)


def test_rows_may_differ_in_their_number_of_negatives():
    torch.manual_seed(0)
    rows = [(0, 1, (2, 3)), (4, 5, ()), (6, 0, (2,))]
    groups = loss.group(rows, [f"text {i}" for i in range(7)])
    assert groups.candidates.tolist() == [1, 5, 0, 2, 3, 2]
    assert groups.masked.nonzero().tolist() == [[0, 2]]  # text 0 is row 0's anchor and row 2's positive
    assert groups.hard.nonzero().tolist() == [[0, 3], [0, 4], [2, 5]]


def test_equal_texts_are_no_negatives():
    # rows 0 and 1 share an anchor; row 2's positive is row 0's anchor; row 3's negative is row 0's positive
    keys = ["a", "p", "a", "q", "b", "a", "c", "r", "p"]
    rows = [(0, 1, ()), (2, 3, ()), (4, 5, ()), (6, 7, (8,))]
    masked = loss.group(rows, keys).masked
    assert masked.tolist() == [
        [False, True, True, False, True],
        [True, False, True, False, False],
        [False, False, False, False, False],
        [False, False, False, False, False],
    ]


def test_margin_masks_near_candidates_but_never_hard_negatives():
    anchor, far = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    #                     anchor 0, positive 0 (weak), hard 0 (equal), anchor 1, positive 1 (equal to anchor 0)
    vectors = torch.stack([anchor, torch.tensor([1.0, 1.0]), anchor, far, anchor + 0.01 * far])
    rows = [(0, 1, (2,)), (3, 4, ())]
    groups = loss.group(rows, list("abcde"))
    full = loss.contrastive(vectors, groups, 1.0)
    masked = loss.contrastive(vectors, groups, 1.0, margin=0.1)
    cos = torch.nn.functional.normalize(vectors, dim=1)
    scores = cos[[0, 3]] @ cos[[1, 4, 2]].T
    # anchor 0 loses candidate 4; anchor 1's own positive is bad, so 1 and not 2 (cosine 0) goes
    first = -scores[0, 0] + torch.logsumexp(scores[0, [0, 2]], 0)
    second = -scores[1, 1] + torch.logsumexp(scores[1, [1, 2]], 0)
    assert float(masked) == pytest.approx(float((first + second) / 2), rel=1e-5)
    assert masked < full


def test_guide_decides_in_place_of_the_model():
    torch.manual_seed(1)
    vectors, guide = torch.randn(6, 4), torch.randn(6, 4)
    groups = loss.group([(0, 1, ()), (2, 3, ()), (4, 5, ())], list("abcdef"))
    by_guide = loss.contrastive(vectors, groups, 0.1, margin=0.0, guide=guide)
    unit = torch.nn.functional.normalize(guide, dim=1)
    seen = unit[[0, 2, 4]] @ unit[[1, 3, 5]].T
    expected = loss.Groups(groups.anchors, groups.candidates, seen > seen.diagonal()[:, None], groups.hard)
    assert float(by_guide) == pytest.approx(float(loss.contrastive(vectors, expected, 0.1)), rel=1e-6)


def test_distillation_is_zero_at_the_teacher_and_positive_elsewhere():
    torch.manual_seed(2)
    vectors, teacher = torch.randn(6, 4), torch.randn(6, 4)
    groups = loss.group([(0, 1, (2,)), (3, 4, (5,))], list("abcdef"))
    assert float(loss.distil_scores(3 * teacher, teacher, groups, 0.1)) == pytest.approx(0, abs=1e-5)
    assert float(loss.distil_scores(vectors, teacher, groups, 0.1)) > 0.01
    assert float(loss.distil_vectors(3 * teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(loss.distil_vectors(-teacher, teacher)) == pytest.approx(2, abs=1e-6)
