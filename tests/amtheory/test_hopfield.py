"""The Hopfield memory: exact couplings, fields and energies."""

from fractions import Fraction

import numpy as np

from amtheory import Hopfield
from amtheory.patterns import random_patterns


def test_couplings_fields_and_energies_are_exact():
    x, s = random_patterns(12, 25, rng=0), random_patterns(4, 25, rng=1)
    memory = Hopfield().fit(x)
    J = [[sum(int(p[i]) * int(p[j]) for p in x) if i != j else 0 for j in range(25)] for i in range(25)]
    np.testing.assert_array_equal(memory.integer_couplings_, J)
    assert memory.integer_couplings_.dtype == np.int32
    np.testing.assert_array_equal(memory.couplings_, np.array(J) / 25)
    for state, field, energy in zip(s.tolist(), memory.local_field(s), memory.energy(s)):
        exact = [sum(J[i][j] * state[j] for j in range(25)) for i in range(25)]
        np.testing.assert_array_equal(field, [float(Fraction(h, 25)) for h in exact])
        assert energy == float(Fraction(-sum(h * v for h, v in zip(exact, state)), 50))


def test_symmetries_are_exact():
    x, s, gauge = (random_patterns(n, 30, rng=n) for n in (9, 5, 1))
    memory = Hopfield().fit(x)
    turned = Hopfield().fit(x * gauge)
    np.testing.assert_array_equal(Hopfield().fit(-x).couplings_, memory.couplings_)
    np.testing.assert_array_equal(turned.couplings_, memory.couplings_ * gauge * gauge.T)
    np.testing.assert_array_equal(turned.energy(s * gauge), memory.energy(s))
    np.testing.assert_array_equal(memory.energy(-s), memory.energy(s))


def test_stabilities_do_not_depend_on_the_scale():
    x = random_patterns(5, 40, rng=0)
    memory = Hopfield().fit(x)
    w = memory.couplings_
    expected = x * (x @ w.T) / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(memory.stabilities(x), expected, rtol=1e-12)
    memory.fit(np.repeat(x, 3, axis=0))
    np.testing.assert_allclose(memory.stabilities(x), expected, rtol=1e-12)


def test_stability_of_an_isolated_spin_is_undefined():
    memory = Hopfield().fit([[1, 1], [1, -1]])
    assert np.isnan(memory.stabilities([[1, 1]])).all()
