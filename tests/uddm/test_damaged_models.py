"""Bits of a saved model folder that flip are noticed, or change nothing that is loaded."""

import itertools
import shutil

import numpy as np
import pytest
import torch

from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig
from uddm.__main__ import _load
from uddm.corpora import ByteTokenizer, CharacterTokenizer, train_bpe

FLIPS = 160  # in each of the folders
FILES = ("config.json", "model.safetensors", "tokenizer.json", "README.md")
TEXT = ["the cat sat on the mat", "the dog sat on the log"]


def hollow():
    return HollowMLP(HollowMLPConfig(27, length=8, hidden_dim=4, blocks=1)), CharacterTokenizer()


def transformer():
    tokenizer = train_bpe(TEXT, 262)
    return DiT(DiTConfig(262, length=4, hidden_dim=4, blocks=1, heads=1, cond_dim=2)), tokenizer


def of_bytes():
    return HollowMLP(HollowMLPConfig(256, length=8, hidden_dim=2, blocks=1)), ByteTokenizer()


@pytest.fixture(params=[hollow, transformer, of_bytes], ids=lambda make: make.__name__)
def folder(request, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = request.param()
    model.save_pretrained(tmp_path / "model", tokenizer)
    return tmp_path / "model"


def same(one, other):
    (model, tokenizer), (again, tokenizer_again) = one, other
    a, b = model.state_dict(), again.state_dict()
    return (
        type(model) is type(again)
        and model.config == again.config
        and a.keys() == b.keys()
        and all(torch.equal(a[name], b[name]) for name in a)
        and tokenizer.definition() == tokenizer_again.definition()
    )


def flips(folder, rng):
    """Files and places of bits: as many in each file, whatever its size, and the first and the last one."""
    for name in FILES:
        size = 8 * (folder / name).stat().st_size
        for bit in (0, size - 1, *rng.integers(size, size=FLIPS // len(FILES) - 2)):
            yield folder / name, int(bit)


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_a_flipped_bit_is_noticed_or_harmless(folder):
    intact, noticed = _load(folder, "cpu"), 0
    for path, bit in flips(folder, np.random.default_rng(0)):
        flip(path, bit)
        try:
            loaded, message = _load(folder, "cpu"), ""
        except (ValueError, FileNotFoundError) as error:
            loaded, message = None, str(error)
        noticed += loaded is None
        assert str(path) in message if loaded is None else same(intact, loaded), f"bit {bit} of {path.name}: {message}"
        flip(path, bit)
    assert same(intact, _load(folder, "cpu"))
    assert noticed > FLIPS / 2


def test_flipped_bits_of_weights_and_settings_are_noticed(folder):
    """Where numbers stand, harmless is not possible."""
    rng, weights = np.random.default_rng(1), folder / "model.safetensors"
    content = weights.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    digits = [n for n, byte in enumerate((folder / "config.json").read_bytes()) if chr(byte).isdigit()]
    places = [(weights, bit) for bit in rng.integers(8 * start, 8 * len(content), size=50)]
    places += [(folder / "config.json", 8 * digit + int(rng.integers(4))) for digit in digits]
    for path, bit in places:
        flip(path, bit)
        with pytest.raises(ValueError) as error:  # noqa: PT011 (each says something else)
            _load(folder, "cpu")
        assert str(path) in str(error.value)
        flip(path, bit)


@pytest.mark.parametrize("name", FILES[:3])
def test_truncated_and_missing_files_are_noticed(folder, name):
    content = (folder / name).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 2):
        (folder / name).write_bytes(content[:size])
        with pytest.raises(ValueError) as error:  # noqa: PT011
            _load(folder, "cpu")
        assert str(folder / name) in str(error.value)
    (folder / name).unlink()
    with pytest.raises((FileNotFoundError, ValueError)) as missing:
        _load(folder, "cpu")
    assert str(folder) in str(missing.value)
    assert name in str(missing.value)


def test_files_of_two_models_are_not_mixed_up(folder, tmp_path):
    """Each file is whole, and none belongs to the others."""
    HollowMLP(HollowMLPConfig(9, length=3, hidden_dim=4)).save_pretrained(
        tmp_path / "other", CharacterTokenizer(" abcdefgh")
    )
    for name in FILES[:3]:
        mixed = tmp_path / name.replace(".", "-")
        shutil.copytree(folder, mixed)
        shutil.copy(tmp_path / "other" / name, mixed / name)
        with pytest.raises(ValueError) as error:  # noqa: PT011
            _load(mixed, "cpu")
        assert str(mixed) in str(error.value)


def test_the_check_sees_a_difference(folder):
    """Negative control of `same`."""
    one, other = _load(folder, "cpu"), _load(folder, "cpu")
    assert same(one, other)
    with torch.no_grad():
        parameter = next(itertools.islice(other[0].parameters(), 1, None))
        parameter.view(-1)[0] = torch.nextafter(parameter.view(-1)[0], torch.tensor(9.0))
    assert not same(one, other)
