"""Claims of modules that pytest was given by ``-p`` bring their rows of WORLDS."""

import sys

from claim_worlds import WORLDS, World


def pytest_configure(config):
    for name in config.getoption("plugins"):
        rows = getattr(sys.modules.get(name), "WORLDS", {})
        WORLDS.update({claim: World(*row) for claim, row in rows.items()})
