"""docs/reproducibility.md: each of its lines names a test that there is; those that have none elsewhere are here."""

import math
import re
import zlib

import numpy as np
import pytest
import torch

from bridges.streams import stream
from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig
from uddm.streams import keyed_generator, keyed_seed

ROW = re.compile(r"^\| (?!what \||---)(.+) \|$", re.MULTILINE)


def test_every_line_names_a_test_that_there_is(repository):
    rows = [row.split(" | ") for row in ROW.findall((repository / "docs" / "reproducibility.md").read_text("utf-8"))]
    assert len(rows) >= 20
    for row in rows:
        assert len(row) == 7, row[0]
        for cell in row[1:6]:
            assert cell.startswith(("bits", "rounding", "law", "as ", "—")), cell
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[6])
        assert len(named) == 1, row[0]
        file, name = named[0]
        assert re.search(rf"^def {name}\(", (repository / file).read_text("utf-8"), re.MULTILINE), named


def test_streams_of_numpy_are_what_they_are_defined_to_be():
    """PCG64 of a SeedSequence, both fixed by numpy's NEP 19, of the seed and checksums of the words."""
    words = ("recover", 0.25)
    entropy = [3, *(zlib.crc32(repr(word).encode()) for word in words)]
    bits = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(5)
    assert (stream(3, *words).bit_generator.random_raw(5) == bits).all()
    assert keyed_seed(3, "noise", 7) == int(
        np.random.SeedSequence(3, spawn_key=(zlib.crc32(b"noise"), 7)).generate_state(1, np.uint64)[0]
    ) >> 1  # fmt: skip


def test_uniform_numbers_of_torch_are_those_of_the_mersenne_twister():
    """Two words of 32 bits make one of 53; of the seed torch reads 32 bits, as numpy's RandomState does."""
    drawn = torch.rand(1000, dtype=torch.float64, generator=keyed_generator(3, "noise", 7)).numpy()
    words = np.random.RandomState(keyed_seed(3, "noise", 7) % 2**32).randint(0, 2**32, 2000, dtype=np.uint64)
    want = ((words[::2] << np.uint64(32) | words[1::2]) & np.uint64(2**53 - 1)) * 2.0**-53
    assert (drawn == want).all()


def test_streams_do_not_depend_on_what_ran_before():
    def numbers(*keys):
        return torch.rand(3, generator=keyed_generator(0, *keys)).tolist(), stream(0, *keys).random(3).tolist()

    there = {step: numbers("noise", step) for step in (5, 3, 4)}
    back = {step: numbers("noise", step) for step in (3, 4, 5)}
    assert there == back
    assert len({str(value) for value in there.values()}) == 3


@pytest.mark.parametrize("make", [
    lambda: DiT(DiTConfig(50, length=16, hidden_dim=64, blocks=2, heads=4, cond_dim=16)),
    lambda: HollowMLP(HollowMLPConfig(50, length=16, hidden_dim=64, blocks=2, cond_dim=16)),
], ids=["DiT", "HollowMLP"])  # fmt: skip
def test_a_network_is_the_same_but_for_rounding(make):
    """The same call the same bits; with other threads or alone in a batch to 20 layers of sums of at most 256 terms, of
    logits below 30: 30 sqrt(20 * 256) u, of independent roundings, and six times that."""
    torch.manual_seed(0)
    network = make().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(std=0.15)
        z = torch.randint(50, (64, 16), generator=torch.Generator().manual_seed(0))
        want = network.cavity(z, 0.3)
        assert torch.equal(network.cavity(z, 0.3), want)
        alone = torch.cat([network.cavity(row[None], 0.3) for row in z])
        torch.set_num_threads(2)
        try:
            threads = network.cavity(z, 0.3)
            assert torch.equal(network.cavity(z, 0.3), threads)
        finally:
            torch.set_num_threads(1)
    assert want.abs().max() < 30
    allowed = 6 * 30 * math.sqrt(20 * 256) * 2.0**-24
    for other in (alone, threads):
        assert (other - want).abs().max() <= allowed
    assert (network.cavity(z, 0.31) - want).abs().max() > allowed, "the negative control"
