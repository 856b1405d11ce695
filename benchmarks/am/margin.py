"""(f) Maximal margins of all rows against scikit-learn's LinearSVC, row by row, and against the classical methods."""

import warnings

import numpy as np
from sklearn.svm import LinearSVC

from amtheory import PerceptronMargin
from amtheory.patterns import random_patterns
from benchmarks.harness import Case, Peer

ROWS = 3


def support_vectors(x):
    """Hard margins of the first rows; LinearSVC is the solver that fits no bias."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops at max_iter, short of the margin
        for row in range(ROWS):
            inputs = x.copy()
            inputs[:, row] = 0
            LinearSVC(loss="hinge", fit_intercept=False, C=1e6, max_iter=10_000).fit(inputs, x[:, row])


def cases() -> list[Case]:
    found, L = [], 500
    for gamma, bar in ((0.5, 15), (1.0, 15), (1.5, 25)):
        patterns = random_patterns(round(gamma * L), L, rng=0)
        x = patterns.astype(np.float64)
        peers = [Peer("LinearSVC, C = 1e6, 10000 iterations", lambda x=x: support_vectors(x), ROWS / L, bar)]
        if gamma == 0.5:
            adatron = PerceptronMargin(method="adatron", tolerance=1e-4)
            minover = PerceptronMargin(method="minover", tolerance=0.05)
            peers.append(Peer("our AdaTron, gap 1e-4", lambda p=patterns, m=adatron: m.fit(p)))
            peers.append(Peer("our MinOver, gap 5 %", lambda p=patterns, m=minover: m.fit(p)))
        title = f"(f) maximal margin, certified on every row, L = {L}, gamma = {gamma}"
        found.append(Case(title, lambda p=patterns: PerceptronMargin().fit(p), peers, rounds=3))
    return found
