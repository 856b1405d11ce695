"""Derivations: what holds, what the paper misprints, and that a wrong equation is caught."""

import functools
import pkgutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch

import amtheory
from amtheory.pseudolikelihood import gradient
from bridges.identities import IDENTITIES, REMARKS, Identity, Sides, _check, check, check_all, report
from bridges.identities import _symbols as symbols
from bridges.identities._algebra import contracted, evaluate, vanishes
from bridges.identities._symbols import K, W, d, i, j, k, p, q, u, v, x
from uddm import UniformProcess, nelbo
from uddm.duality import uniform_alpha


@functools.cache
def checked(name):
    return check(name)


def mutant(name, **changes):
    """The identity with sides replaced by functions of what they were; its derivation is not run again."""
    sides = checked(name).sides
    changed = {side: change(getattr(sides, side)) for side, change in changes.items()}
    return replace(IDENTITIES[name], sides=lambda: replace(sides, **changed))


@pytest.mark.parametrize("name", IDENTITIES)
def test_every_corrected_form_is_proved_and_agrees_with_the_library(name):
    found = checked(name)
    assert found.holds_corrected
    assert found.numeric_error < 1e-9
    assert found.passed
    assert max(map(len, report(found).splitlines())) <= 100


def test_the_errata_are_those_known():
    """Part for part the list of misprints of arXiv 2604.26841v1; eqs. 9 and 10 hold as printed."""
    printed = [checked(name) for name in IDENTITIES if checked(name).holds_as_printed is not None]
    wrong = {c.identity.equation for c in printed if not c.holds_as_printed}
    assert wrong == {"(2)", "(5)", "(6)", "(7)", "(11)", "(12)", "(13)", "(17)", "(21)-(23)"}
    assert {c.identity.equation for c in printed if c.holds_as_printed} == {"(9)", "(10)"}
    assert [remark.subject for remark in REMARKS] == [
        "section 3.1",
        "appendix A, tokenizer",
        "table 1, scale by sigma",
    ]


def test_size_of_the_misprints():
    """Eq. (2) as printed adds up to 1 + (alpha_s - alpha_t)/(1 - alpha_t) if z != x, and to 1 + (alpha_s - alpha_t)/
    (K alpha_t + 1 - alpha_t) if z = x; eq. (17) has T(0) = -0.2929 at K = 2, or -1/2 if Phi is misprinted with phi."""
    total = checked("posterior").sides.printed[1]
    at = {symbols.alpha_t: 0.6, symbols.alpha_s: 0.9, K: 2, x: 0}
    np.testing.assert_allclose(evaluate([total], at | {symbols.z: 1}), 1.75)
    np.testing.assert_allclose(evaluate([total], at | {symbols.z: 0}), 1 + 0.3 / 1.6)
    transform = checked("gaussian-transform").sides.printed
    assert transform.subs(sp.Symbol("mu", positive=True), 0) == 1 / sp.sqrt(2) - 1
    assert checked("gaussian-argmax").sides.printed[1].subs(K, 2) == -sp.Rational(1, 2)


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize(("side", "mutation"), [("corrected", "sign"), ("corrected", "offset"), ("derived", "sign")])
def test_a_wrong_side_is_caught(name, side, mutation):
    def wrong(form):
        ones = sp.ones(*form.shape) if isinstance(form, sp.MatrixBase) else 1
        return {"sign": -form, "offset": form + ones / sp.Integer(1000)}[mutation]

    found = check(mutant(name, **{side: wrong}))
    assert not found.holds_corrected
    assert not found.passed
    if side == "corrected":
        assert found.numeric_error > 1e-5
    elif found.holds_as_printed is not None:
        assert not found.holds_as_printed


LIBRARY = {
    "update": "amtheory.retrieve",
    "margin": "amtheory.Couplings.stabilities",
    "conditional": "uddm.denoisers.linear.Linear.forward",
    "pseudo-likelihood": "amtheory.pseudolikelihood.loss",
    "gradient": "amtheory.pseudolikelihood.gradient",
    "token-gradient": "uddm.denoisers.linear.Linear.forward",
    "two-states": "uddm.denoisers.linear.Linear.couplings",
    "posterior": "uddm.UniformProcess.posterior",
    "transition": "uddm.UniformProcess.posterior",
    "own-logit": "uddm.UniformProcess.own_logit",
    "dense-memory": "uddm.process.UniformProcess.own_logit",
    "nothing-changed": "uddm.EmpiricalBayes.weights",
    "continuous-time": "uddm.nelbo",
    "single-token": "uddm.objective.expected_nelbo",
    "noisy-training": "uddm.objective.expected_nelbo",
    "sequence-entropy": "bridges.diffusion._Chunked.entropy",
    "laplace": "torch.distributions.MultivariateNormal.entropy",
    "binary-entropy": "bridges.binary._Logistic.entropy",
    "gaussian-transform": "uddm.duality.uniform_alpha",
    "gaussian-argmax": "uddm.duality.uniform_alpha",
}


def check_numbers(name, owner, attribute, wrong, monkeypatch):
    """The check with a wrong library; what is proved is not proved again."""
    identity = mutant(name)
    monkeypatch.setattr(_check, "vanishes", lambda *_: True)
    monkeypatch.setattr(owner, attribute, wrong)
    return check(identity)


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_flipped_sign_in_the_library_is_caught(name, monkeypatch):
    module, _, attribute = LIBRARY[name].rpartition(".")
    owner = pkgutil.resolve_name(module)
    right = getattr(owner, attribute)

    def flipped(*args, **kwargs):
        value = right(*args, **kwargs)
        return (-value[0], *value[1:]) if isinstance(value, tuple) else -value

    found = check_numbers(name, owner, attribute, flipped, monkeypatch)
    assert not found.numeric_error <= 1e-3
    assert not found.passed


def replaced(old, new):
    def change(form):
        after = form.xreplace({old: new}) if isinstance(old, sp.Basic) else form.replace(old, new)
        assert after != form, "the mutation must change the form"
        return after

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("update", replaced(sp.Symbol("s"), -sp.Symbol("s"))),
        ("update", replaced(sp.Symbol("s"), sp.Integer(1))),
        ("gradient", replaced(sp.tanh, lambda u: -sp.tanh(u))),
        ("gradient", replaced(symbols.beta, sp.Integer(1))),
        ("gradient", replaced(d(symbols.l, symbols.m), sp.Integer(0))),
        ("token-gradient", replaced(d(symbols.l, symbols.m), sp.Integer(0))),
        ("token-gradient", replaced(symbols.beta, sp.Integer(1))),
        ("posterior", replaced(K, K - 1)),
        ("transition", replaced(p[symbols.z], 1 - p[symbols.z])),
        ("continuous-time", replaced(sp.log, lambda u: sp.log(u) / sp.log(2))),
        ("continuous-time", replaced(p[symbols.z], p[x])),
        ("own-logit", replaced(sp.atanh, sp.tanh)),
        ("noisy-training", replaced(symbols.tau, -symbols.tau)),
        ("binary-entropy", replaced(sp.tanh, sp.sinh)),
        ("laplace", replaced(sp.pi, sp.E)),
        ("sequence-entropy", replaced(v[j], u[j])),
        ("dense-memory", replaced(K, sp.Integer(2))),
    ],
)
def test_a_wrong_term_is_caught(name, change):
    assert not check(mutant(name, corrected=change)).passed


POSTERIOR, RETRIEVE = UniformProcess.posterior, amtheory.retrieve


def bayes_as_printed(process, log_p, z, t, s):
    """Eq. (2) without 1 - alpha_s where z is not x, and right at z = x."""
    right = POSTERIOR(process, log_p, z, t, s)
    alpha_t, alpha_s = process.alpha(t), process.alpha(s)
    more = (1 - alpha_t / alpha_s) * alpha_s / process.vocab_size / (1 - alpha_t)
    return right + more * (log_p.argmax(-1) != z)[..., None]


def wrong_where(same):
    """`nelbo` twice as large where z = x, or where it is not."""
    return lambda process, log_p, x, z, t: nelbo(process, log_p, x, z, t) * (1 + ((x == z) == same))


def wrong_diagonal(couplings, examples, strength):
    return gradient(couplings, examples, strength) + 0.1 * np.eye(len(couplings))


def ties(spin):
    def retrieve(couplings, states, **options):
        final, info = RETRIEVE(couplings, states, **options)
        final[:, 2] = spin(final[:, 2])
        return final, info

    return retrieve


@pytest.mark.parametrize(
    ("name", "target", "wrong"),
    [
        ("posterior", "uddm.UniformProcess.posterior", bayes_as_printed),
        ("continuous-time", "uddm.nelbo", wrong_where(True)),
        ("continuous-time", "uddm.nelbo", wrong_where(False)),
        ("gradient", "amtheory.pseudolikelihood.gradient", wrong_diagonal),
        ("update", "amtheory.retrieve", ties(np.ones_like)),
        ("update", "amtheory.retrieve", ties(np.negative)),
        ("margin", "amtheory.Couplings.stabilities", lambda self, x: self.local_field(x) / self.norms_),
        ("gaussian-argmax", "uddm.duality.uniform_alpha", lambda a, K: uniform_alpha(a, K) if K == 2 or not a else 0.5),
        (
            "own-logit",
            "uddm.UniformProcess.own_logit",
            lambda self, t: torch.tensor(1 if self.vocab_size > 2 else np.nan),
        ),
    ],
)
def test_a_library_wrong_in_one_case_is_caught(name, target, wrong, monkeypatch):
    module, _, attribute = target.rpartition(".")
    found = check_numbers(name, pkgutil.resolve_name(module), attribute, wrong, monkeypatch)
    assert not found.numeric_error <= _check.TOLERANCE
    assert not found.passed


def test_a_number_for_each_entry_none_of_them_nan():
    def measured(value):
        return lambda measure: lambda rng: [(point, value(values)) for point, values in measure(rng)]

    for late in (lambda values: [values[0], np.nan], lambda values: np.multiply(values, 1 + 1e-6)):
        assert not check(mutant("own-logit", measure=measured(late))).passed
    with pytest.raises(ValueError, match="zip"):
        check(mutant("own-logit", measure=measured(lambda values: values[0])))


def test_an_erratum_must_be_one():
    """An erratum on record where the printed form holds, and a printed form that fails without one, do not pass."""
    assert not check(mutant("posterior", printed=lambda _: checked("posterior").sides.corrected)).passed
    assert not check(replace(mutant("posterior"), erratum="")).passed


def test_what_is_neither_proved_nor_refuted_is_an_error():
    """d(i, j) equals 1 at all points that are tried, but not for all indices."""
    sides = Sides(derived=d(i, j), corrected=sp.Integer(1), measure=lambda rng: [({i: 0, j: 0}, 1.0)])
    with pytest.raises(ArithmeticError, match="odd: the corrected form is neither proved nor refuted"):
        check(Identity("odd", "", "", "", lambda: sides))


def test_the_printed_conditional_needs_a_zero_diagonal():
    def with_diagonal(measure):
        return lambda rng: [({**point, W: point[W] + np.eye(4)}, value) for point, value in measure(rng)]

    assert check(mutant("conditional", given=lambda _: {}, measure=with_diagonal)).holds_as_printed is False


def test_names_and_seeds():
    for name in ("nonsense", 5, None):
        with pytest.raises(ValueError, match=f"`identity` must be one of 'update', 'margin', .*, got {name!r}"):
            check(name)
    with pytest.raises(TypeError, match="`only` must be a sequence, got 'own-logit'"):
        check_all("own-logit")
    for only in (["x"], ["own-logit", 5]):
        with pytest.raises(ValueError, match="`only` must be one of 'update', 'margin', "):
            check_all(only)
    one, again, other = (check(mutant("own-logit"), rng=seed).numeric_error for seed in (1, 1, 5))
    assert one == again
    assert other <= _check.TOLERANCE
    with pytest.raises(TypeError, match="`rng`"):
        check("own-logit", rng=0.5)


def total(summand, index):
    return sp.Sum(summand, (index, 0, K - 1))


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
        (sp.Sum(p[i], (i, 1, K - 1)) - 1, False),
        (sp.Sum(p[i], (i, 0, symbols.L - 1)) - 1, False),
        (total(u[i] * v[i], i) * total(p[j] ** 2, j) - total(u[i] * p[i] ** 2, i) * total(v[j], j), False),
        (total(u[i] * v[i], i) * total(W[j], j) - total(u[i], i) * total(v[j] * W[j], j), False),
        (total(u[i] * total(q[i, j] * W[j], j), i) - total(W[j] * total(q[i, j] * u[i], i), j), True),
        (total(u[i] * total(q[i, j] * W[j], j), i) - total(W[j] * total(q[j, i] * u[i], i), j), False),
        (sp.log(sp.Symbol("t") ** 2) - 2 * sp.log(sp.Symbol("t")), False),
        (sp.log(sp.Symbol("t", positive=True) ** 2) - 2 * sp.log(sp.Symbol("t", positive=True)), True),
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
    code = "import sys, bridges.__main__; dir(bridges); print('sympy' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.split() == ["False", "False"]
