"""What several tests of the figures use."""

from types import SimpleNamespace

import pytest
import xarray as xr
from matplotlib.figure import Figure


@pytest.fixture
def nothing():
    """A figure that costs nothing."""
    return SimpleNamespace(
        ORDER=0,
        TITLE="Nothing",
        EXPECTED="",
        CAPTION="",
        tasks=lambda ws: [],
        compute=lambda ws: xr.Dataset({"value": 1.0}),
        plot=lambda ds: Figure(),
        findings=lambda ds: [],
    )
