"""What decides C9, C15 and C16, computed again from the cells of each system, and the cells from one another."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, spearmanr

import bridges
from amtheory import Hopfield
from amtheory.patterns import random_patterns
from bridges import SCORES, TOKEN_CLASSES
from bridges.streams import stream
from paper_figures.evidence import EVIDENCE, GRAMMAR, SPINS, TEXT
from paper_figures.measure import hierarchy, language, memories, scored
from paper_figures.workspace import Workspace

RECOVERED, FAILED = TOKEN_CLASSES.index("recovered"), TOKEN_CLASSES.index("failed")
SPLITS = ("train", "test")
LOADS, SIZES, STRINGS = (0.1, 1.0, 8.0), (32, 256, 2048), (4, 24)  # of the smoke preset
LENGTHS = {TEXT: 12, GRAMMAR: 4, SPINS: 60}


@pytest.fixture(scope="module")
def ws(smoke_results):
    return Workspace(smoke_results, "smoke")


@pytest.fixture(scope="module")
def measured(ws):
    """Everything that is measured of each system, by (system, size, repeat)."""
    tree = hierarchy.networks(ws)[0]
    found = {}
    for size, seed in product(SIZES, range(2)):
        found[TEXT, size, seed] = language.Measured(ws, language.Case(language.main(ws), size, seed))
    for size, seed in product(STRINGS, range(2)):
        found[GRAMMAR, size, seed] = hierarchy.Measured(ws, hierarchy.Case(tree, "equal rules", seed, size, 60))
    for load, seed in product(LOADS, range(3)):
        found[SPINS, round(60 * load), seed] = memories.Measured(ws, load, seed)
    return found


@pytest.fixture(scope="module")
def kept(ws):
    """A cell of the run."""
    return lambda cell: ws.get(cell._replace(make=pytest.fail))


def area(members, others):
    return mannwhitneyu(members, others).statistic / (len(members) * len(others))


def test_token_entropy_on_every_system(ws, measured, kept):
    found = EVIDENCE["C9"].compute(ws).area
    assert found.system.values.tolist() == [TEXT, GRAMMAR, SPINS]
    for (system, size, repeat), one in measured.items():
        tokens = [kept(one.classes(split)) for split in SPLITS]
        failed, recovered = (
            np.concatenate([t.token_entropy.values[t.token_class.values == code] for t in tokens])
            for code in (FAILED, RECOVERED)
        )
        value = found.sel(system=system, size=size, repeat=repeat).item()
        assert value == pytest.approx(area(failed, recovered), abs=1e-12)
    assert found.notnull().sum() == len(measured)


def test_tokens_that_are_classified_are_those_whose_recovery_is_counted(measured, kept):
    for (system, *_), one in measured.items():
        if system == TEXT:
            continue
        cell = one.recovery() if system == GRAMMAR else one.recovery(0.25)
        rates = kept(cell).recovery.sel(estimate="value")
        rates = rates if system == GRAMMAR else rates.sel(system="pseudo-likelihood").squeeze("noise")
        for split in SPLITS:
            tokens = kept(one.classes(split))
            counts = np.bincount(tokens.token_class.values.ravel(), minlength=4)
            want = rates.sel(split=split).item()
            assert counts[RECOVERED] / (counts[RECOVERED] + counts[FAILED]) == pytest.approx(want)
            assert (tokens.token_entropy.dtype, tokens.token_class.dtype) == (np.float32, np.int8)
            assert set(tokens.variables) == {"token_entropy", "token_class"}


def test_curvature_on_text_and_spins(ws, measured, kept):
    found = EVIDENCE["C15"].compute(ws)
    assert found.system.values.tolist() == [TEXT, SPINS]
    for system, size, repeats in ((TEXT, 2048, 2), (SPINS, 480, 3)):
        assert (found.curvature_correlation.sel(system=system).notnull().values == (np.arange(3) < repeats)).all()
        for repeat in range(repeats):
            one = measured[system, size, repeat]
            scores = kept(one.scores()).sel(split="test")
            if system == TEXT:
                runs = [kept(one.recovery("test", noise)) for noise in (0.25, 0.5, 1.0)]
                basin = np.mean([(run.final[0] == run.original).values.mean(1) for run in runs], axis=0)
            else:
                basin = np.mean([kept(one.basins(noise)).restored.values for noise in (0.1, 0.25, 0.5)], axis=0)
            at, entropy = found.sel(system=system, repeat=repeat), scores.entropy.values
            assert np.isfinite(entropy).all()
            assert at.curvature_correlation.item() == pytest.approx(spearmanr(entropy, scores.curvature).statistic)
            own = spearmanr(entropy[: len(basin)], basin).statistic
            assert at.basin_correlation.item() == pytest.approx(own)


def test_basins_of_patterns_are_those_whose_recovery_is_counted(measured, kept):
    for repeat, noise in product(range(3), (0.1, 0.25, 0.5)):
        one = measured[SPINS, 480, repeat]
        rates = kept(one.recovery(noise)).total_recovery.squeeze("noise")
        want = rates.sel(system="pseudo-likelihood", split="test", estimate="value").item()
        assert kept(one.basins(noise)).restored.mean().item() == pytest.approx(want)


def test_detection_on_every_system(ws, measured, kept):
    found = EVIDENCE["C16"].compute(ws)
    assert found.system.values.tolist() == [TEXT, GRAMMAR, SPINS]
    assert found.score.values.tolist() == list(SCORES)
    for ((system, size, repeat), one), (score, sign) in product(measured.items(), SCORES.items()):
        values = sign * kept(one.scores())[score]
        members, others = (values.sel(split=split).dropna("sample").values for split in SPLITS)
        assert len(members) == (min(size, {TEXT: 1000, GRAMMAR: 8, SPINS: 50}[system]))
        at = found.sel(system=system, size=size, repeat=repeat, score=score)
        assert at.area.item() == pytest.approx(area(members, others), abs=1e-12)
        if system == TEXT:  # the 5th largest of 500: floor(.01 * 501)
            threshold = np.sort(stream(one.seed, "calibration").permutation(others)[:500])[-5]
            assert at.detected.item() == np.mean(members > threshold)
    assert found.area.notnull().sum() == len(measured) * len(SCORES)
    assert found.detected.sel(system=[GRAMMAR, SPINS]).isnull().all(), "fewer than 1000 unseen sequences"


def test_sequences_that_are_scored_are_those_whose_entropy_is_drawn(measured, kept):
    for (system, *_), one in measured.items():
        scores = kept(one.scores())
        if system == TEXT:
            both = {split: kept(one.entropy(split)).sequence_entropy for split in SPLITS}
        else:
            cell = one.generation() if system == GRAMMAR else one.entropy()
            drawn = kept(cell).sequence_entropy
            drawn = drawn if system == GRAMMAR else drawn.sel(system="pseudo-likelihood")
            both = {split: drawn.sel(sequences=split).dropna("sample") for split in SPLITS}
        for split, entropy in both.items():
            own = scores.entropy.sel(split=split).values[: len(entropy)] * LENGTHS[system]
            # networks are single precision, and see batches of other sizes
            np.testing.assert_allclose(own, entropy, rtol=1e-4, atol=1e-6)


def test_curvature_is_the_second_derivative_of_the_energy():
    """Of a spin, half of that in its field f, by differences of -log p, whose error is of order h^2 = 1e-6."""
    x = random_patterns(20, 40, rng=0)
    memory, h = Hopfield().fit(x), 1e-3
    field, spins = 0.7 * memory.local_field(x), x.astype(float)

    def energy(shift):
        return np.logaddexp(0, -2 * spins * (field + shift))

    want = (energy(h) - 2 * energy(0) + energy(-h)).sum(1) / h**2 / 2
    found = scored(bridges.as_system(memory, beta=0.7), bridges.to_tokens(x), None, 0)
    np.testing.assert_allclose(found.curvature, want, rtol=1e-5)
