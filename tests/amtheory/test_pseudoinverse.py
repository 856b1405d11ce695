"""The projection memory: exact stabilities, invariance under the choice of a basis, degenerate patterns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amtheory import PseudoInverse, retrieve
from amtheory.patterns import random_patterns


@settings(max_examples=30, deadline=None)
@given(P=st.integers(1, 30), L=st.integers(31, 60), seed=st.integers(0, 2**32))
def test_stabilities_are_those_of_the_projector(P, L, seed):
    """sqrt((1 - p)/p), of relative error dp / (2 p (1 - p)) if the projector has the error dp."""
    x = random_patterns(P, L, rng=seed)
    memory = PseudoInverse().fit(x)
    singular = np.linalg.svd(x.astype(float), compute_uv=False)[: memory.rank_]
    error = 8 * L * 2.0**-52 * (singular[0] / singular[-1]) ** 2  # from eigenvectors of the matrix of overlaps
    p = np.diag(np.linalg.pinv(x.astype(float)) @ x)
    sure = error < 0.1 * np.minimum(p, 1 - p)
    assert sure.any() or memory.rank_ > L - 5
    expected = np.sqrt((1 - p[sure]) / p[sure])
    difference = np.abs(memory.stabilities(x)[:, sure] - expected)
    assert (difference <= error / (p[sure] * (1 - p[sure])) * expected + 1e-14).all()
    np.testing.assert_array_equal(memory.couplings_, memory.couplings_.T)
    assert (np.diag(memory.couplings_) == 0).all()
    assert memory.rank_ == np.linalg.matrix_rank(x)


@pytest.mark.parametrize("P", [20, 70])
def test_only_the_span_counts(P):
    """Repeated, reversed and dependent patterns change nothing; also more patterns than spins."""
    x = random_patterns(20, 50, rng=0)
    more = np.concatenate([x, x[:5], -x[3:9], np.tile(x, (3, 1))])[:P]
    np.testing.assert_allclose(PseudoInverse().fit(more).couplings_, PseudoInverse().fit(x).couplings_, atol=1e-12)


def test_gauge_covariance():
    x, gauge = random_patterns(20, 50, rng=0), random_patterns(1, 50, rng=1)
    turned = PseudoInverse().fit(x * gauge).couplings_
    np.testing.assert_allclose(turned, PseudoInverse().fit(x).couplings_ * gauge * gauge.T, atol=1e-12)


def test_patterns_are_fixed_points_up_to_half_load_and_beyond():
    x = random_patterns(160, 200, rng=0)
    final, info = retrieve(PseudoInverse().fit(x), x)
    np.testing.assert_array_equal(final, x)
    assert (info.sweeps == 1).all()


def test_patterns_that_span_all_dimensions():
    with pytest.raises(ValueError, match=r"`patterns` must not span all of the 10 dimensions, got 40 of rank 10"):
        PseudoInverse().fit(random_patterns(40, 10, rng=0))
