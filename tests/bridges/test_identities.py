"""Derivations: what holds, what the paper misprints, and that a wrong equation is caught."""

import functools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from bridges import identities
from bridges.identities import IDENTITIES, Identity, K, Sides, check, contracted, d, evaluate, report, vanishes

i, j, k, x = identities.i, identities.j, identities.k, identities.x
p = identities.p


@functools.cache
def verdict(name):
    return check(name)


def mutant(name, **changes):
    """The identity with sides replaced by functions of what they were; its derivation is not run again."""
    sides = verdict(name).sides
    changed = {side: change(getattr(sides, side)) for side, change in changes.items()}
    return replace(IDENTITIES[name], sides=lambda: replace(sides, **changed))


@pytest.mark.parametrize("name", IDENTITIES)
def test_every_corrected_form_is_proved_and_agrees_with_the_library(name):
    found = verdict(name)
    assert found.holds_corrected
    assert found.numeric_error < 1e-9
    assert found.passed
    assert max(map(len, report(found).splitlines())) <= 100


def test_the_errata_are_those_known():
    """Part for part the list of misprints of arXiv 2604.26841v1; eqs. 9 and 10 hold as printed."""
    printed = [verdict(name) for name in IDENTITIES if verdict(name).holds_as_printed is not None]
    wrong = {v.identity.equation for v in printed if not v.holds_as_printed}
    assert wrong == {"(2)", "(5)", "(6)", "(7)", "(11)", "(12)", "(13)", "(17)", "(21)-(23)"}
    assert {v.identity.equation for v in printed if v.holds_as_printed} == {"(9)", "(10)"}
    assert [remark.subject for remark in identities.REMARKS] == [
        "section 3.1",
        "appendix A, tokenizer",
        "table 1, scale by sigma",
    ]


def test_size_of_the_misprints():
    """Eq. (2) as printed adds up to 1 + (alpha_s - alpha_t)/(1 - alpha_t) if z != x, and to 1 + (alpha_s - alpha_t)/
    (K alpha_t + 1 - alpha_t) if z = x; eq. (17) has T(0) = -0.2929 at K = 2, or -1/2 if Phi is misprinted with phi."""
    total = verdict("posterior").sides.printed[1]
    at = {identities.alpha_t: 0.6, identities.alpha_s: 0.9, K: 2, x: 0}
    np.testing.assert_allclose(evaluate([total], at | {identities.z: 1}), 1.75)
    np.testing.assert_allclose(evaluate([total], at | {identities.z: 0}), 1 + 0.3 / 1.6)
    transform = verdict("gaussian-transform").sides.printed
    assert transform.subs(sp.Symbol("mu", positive=True), 0) == 1 / sp.sqrt(2) - 1
    assert verdict("gaussian-start").sides.printed.subs(K, 2) == -sp.Rational(1, 2)


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize(
    ("side", "mutation"),
    [("corrected", "sign"), ("corrected", "factor 2"), ("corrected", "offset"), ("derived", "sign")],
)
def test_a_wrong_side_is_caught(name, side, mutation):
    def wrong(form):
        ones = sp.ones(*form.shape) if isinstance(form, sp.MatrixBase) else 1
        return {"sign": -form, "factor 2": 2 * form, "offset": form + ones / sp.Integer(1000)}[mutation]

    if wrong(verdict(name).sides.corrected) == verdict(name).sides.corrected:
        assert name == "gaussian-start"  # whose form is 0
        return
    found = check(mutant(name, **{side: wrong}))
    assert not found.holds_corrected
    assert not found.passed
    if side == "corrected":
        assert found.numeric_error > 1e-5
    elif found.holds_as_printed is not None:
        assert not found.holds_as_printed


def replaced(old, new):
    def change(form):
        after = form.xreplace({old: new}) if isinstance(old, sp.Basic) else form.replace(old, new)
        assert after != form, "the mutation must change the form"
        return after

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gradient", replaced(sp.tanh, lambda u: -sp.tanh(u))),
        ("gradient", replaced(identities.beta, sp.Integer(1))),
        ("gradient", replaced(d(identities.l, identities.m), sp.Integer(0))),
        ("token-gradient", replaced(d(identities.l, identities.m), sp.Integer(0))),
        ("token-gradient", replaced(identities.beta, sp.Integer(1))),
        ("posterior", replaced(K, K - 1)),
        ("transition", replaced(p[identities.z], 1 - p[identities.z])),
        ("continuous-time", replaced(sp.log, lambda u: sp.log(u) / sp.log(2))),
        ("continuous-time", replaced(p[identities.z], p[x])),
        ("evidence", replaced(sp.atanh, sp.tanh)),
        ("noisy-training", replaced(identities.tau, -identities.tau)),
        ("binary-entropy", replaced(sp.tanh, sp.sinh)),
        ("laplace", replaced(sp.pi, sp.E)),
        ("sequence-entropy", replaced(identities.v[j], identities.u[j])),
        ("dense-memory", replaced(K, sp.Integer(2))),
    ],
)
def test_a_wrong_term_is_caught(name, change):
    assert not check(mutant(name, corrected=change)).passed


def test_a_wrong_library_is_caught():
    def off(measure):
        def measured(rng):
            point, value = measure(rng)
            return point, np.asarray(value) * (1 + 1e-6)

        return measured

    found = check(mutant("posterior", measure=off))
    assert found.holds_corrected
    assert found.numeric_error > identities.TOLERANCE
    assert not found.passed


def test_an_erratum_must_be_one():
    """An erratum on record where the printed form holds, and a printed form that fails without one, do not pass."""
    assert not check(mutant("posterior", printed=lambda _: verdict("posterior").sides.corrected)).passed
    assert not check(replace(mutant("posterior"), erratum="")).passed


def test_what_is_neither_proved_nor_refuted_is_an_error():
    """d(i, j) equals 1 at all points that are tried, but not for all indices."""
    sides = Sides(derived=d(i, j), corrected=sp.Integer(1), measure=lambda rng: ({i: 0, j: 0}, 1.0))
    with pytest.raises(ArithmeticError, match="odd: the corrected form is neither proved nor refuted"):
        check(Identity("odd", "", "", "", lambda: sides))


def test_names_and_seeds():
    with pytest.raises(ValueError, match="`identity` must be one of update, margin"):
        check("nonsense")
    one, again, other = (check(mutant("evidence"), rng=seed).numeric_error for seed in (1, 1, 5))
    assert one == again
    assert other <= identities.TOLERANCE
    with pytest.raises(TypeError, match="`rng`"):
        check("evidence", rng=0.5)


@pytest.mark.parametrize(
    ("expression", "zero"),
    [
        (d(i, j) * d(j, k) * (1 - d(i, k)), True),
        (d(i, j) * d(i, k) - d(i, j) * d(j, k), True),
        (d(i, j) * d(j, k), False),
        (d(i, j) * (p[i] - p[j]), True),
        (p[i] - p[j], False),
        (sp.log(1 + d(i, j)) - d(i, j) * sp.log(2), True),
        (sp.log(1 + d(i, j)) - d(i, j), False),
        (sp.Sum(p[i], (i, 0, K - 1)) - sp.Sum(p[j], (j, 0, K - 1)), True),
        (sp.Sum(p[i], (i, 0, K - 1)) - 1, True),  # p are probabilities
        (sp.Sum(p[i] ** 2, (i, 0, K - 1)) - 1, False),
        (sp.Sum(d(i, j), (i, 0, K - 1)) - 1, True),
        (sp.Sum(1 - d(i, j), (i, 0, K - 1)) - K, False),
    ],
)
def test_proofs_of_zero(expression, zero):
    assert vanishes(expression) is zero


@pytest.mark.parametrize(
    "summand",
    [
        d(k, x) * p[k],
        p[k] * sp.log(1 + p[k] + 2 * d(k, x)),
        d(k, x) * d(k, j) + p[j] / (1 + d(k, j)),
        sp.exp(p[k] * (1 - d(k, x)) - d(k, j)) * (p[k] + p[x]) ** 2,
    ],
)
def test_contraction_keeps_the_value_of_a_sum(summand):
    total = sp.Sum(summand, (k, 0, K - 1))
    for at in ({x: 0, j: 0}, {x: 0, j: 2}, {x: 3, j: 1}):
        values = [evaluate([e], {**at, K: 4, p: [0.1, 0.2, 0.3, 0.4]}) for e in (total, contracted(total))]
        np.testing.assert_allclose(*values, rtol=1e-13)


def test_printed_rate_is_undefined_where_nothing_changes():
    """What the library makes of eq. (12) there: such sequences are left out, and alone they give no rate."""
    from bridges.recovery import _rates

    tokens = np.zeros((3, 4), int)
    changed = tokens.copy()
    changed[0, 0] = 1
    none, one = (_rates(tokens, z, tokens, np.random.default_rng(0), 0.95) for z in (tokens, changed))
    assert np.isnan(none["recovery"].value)
    assert np.isnan(none["recovery_mean"].value)
    assert one["recovery_mean"].value == 1


def test_sympy_is_loaded_on_use(repository):
    for statement in ("import bridges; dir(bridges)", "import bridges.__main__"):
        code = f"import sys; {statement}; print('sympy' in sys.modules, 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
        assert done.stdout.split() == ["False", "False"], statement
