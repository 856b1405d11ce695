"""Models of the `transformers` library as denoisers: the library's own numbers, and what is refused by name."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import (
    CLS,
    MASK,
    MODELS,
    OTHERS,
    SEP,
    K,
    bert,
    diffusion_gemma,
    library,
    modernbert,
    saved,
)

from uddm import MaskedProcess, UniformProcess, evidence_bound, reverse
from uddm.corpora import read_tokenizer
from uddm.denoisers import DiffusionGemma, MaskedLanguageModel
from uddm.files import UnreadableFile
from uddm.importers import convert, import_published, import_transformers, inspect_published
from uddm.importers.transformers_models import inspect_transformers, is_transformers
from uddm.prediction import DensePrediction, HeadPrediction

pytestmark = pytest.mark.usefixtures("_library")


@pytest.fixture(scope="module", autouse=True)
def _library():
    library()


def some_tokens(rows=3, length=10):
    z = torch.randint(5, K, (rows, length), generator=torch.Generator().manual_seed(1))
    z[:, ::3] = MASK
    return z


@pytest.mark.parametrize("make", (MODELS | OTHERS).values(), ids=MODELS | OTHERS)
def test_it_gives_the_logits_of_the_library(tmp_path, make):
    model, z = make(), some_tokens()
    denoiser = import_transformers(saved(model, tmp_path), mask=MASK, before=[CLS], after=[SEP])
    framed = torch.cat([torch.full((3, 1), CLS), z, torch.full((3, 1), SEP)], 1)
    with torch.no_grad():
        logits = model(input_ids=framed, attention_mask=torch.ones_like(framed)).logits[:, 1:-1]
        found = denoiser.cavity(z, 0.5)
    logits[..., MASK] = -torch.inf  # as the law given that it is no mask
    torch.testing.assert_close(found.exp(), logits.softmax(-1), rtol=0, atol=1e-5)
    assert found[..., MASK].exp().max() == 0
    others = torch.arange(K) != MASK
    torch.testing.assert_close(found[..., others], logits.log_softmax(-1)[..., others], rtol=0, atol=1e-5)
    assert isinstance(denoiser, MaskedLanguageModel)
    assert isinstance(denoiser.process, MaskedProcess)
    assert (denoiser.process.vocab_size, denoiser.process.mask) == (K, MASK)


@pytest.mark.parametrize("own", ["posterior", "cavity"])
def test_diffusion_gemma_gives_the_logits_of_the_library(tmp_path, own):
    model, prompt, t = diffusion_gemma(), [2, 7, 9], 0.4
    denoiser = import_transformers(saved(model, tmp_path), prompt=prompt, predicts=own)
    z = torch.randint(K, (3, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt] * 3), decoder_input_ids=z).logits
        again = model(input_ids=torch.tensor([prompt] * 3), decoder_input_ids=z, self_conditioning_logits=logits).logits
        found = [denoiser.cavity(z, t)]
        denoiser.self_conditioning = 1
        found.append(denoiser.cavity(z, t))
    assert isinstance(denoiser, DiffusionGemma)
    assert isinstance(denoiser.process, UniformProcess)
    assert (again - logits).abs().max() > 0.1
    for one, own_logits in zip(found, (logits, again)):
        if own == "posterior":  # what the token's own z says, log(1 + K alpha/(1 - alpha)), is subtracted at it
            alpha = float(denoiser.process.alpha(t))
            b = torch.log1p(torch.tensor(K * alpha / (1 - alpha)))
            own_logits = own_logits - b * torch.nn.functional.one_hot(z, K)
        torch.testing.assert_close(one, own_logits.log_softmax(-1), rtol=0, atol=1e-5)


def test_reductions_in_chunks_are_those_of_the_law(monkeypatch):
    """Of both heads, against float64 sums of the dense law; with two positions a chunk."""
    monkeypatch.setattr("uddm.prediction.chunk_size", lambda K: 2)
    monkeypatch.setattr("uddm.denoisers.pretrained.chunk_size", lambda K: 2)
    masked, gemma = MaskedLanguageModel(bert(), mask=MASK, length=6), DiffusionGemma(diffusion_gemma(6))
    z = some_tokens(2, 6)
    x = torch.where(z == MASK, 7, z)
    for denoiser in (masked, gemma):
        with torch.no_grad():
            found = denoiser.predict(z, 0.3)
            dense = DensePrediction(found.log_probs().double())
            assert isinstance(found, HeadPrediction)
            for one, other in (
                (found.entropy(), dense.entropy()),
                (found.log_prob(x), dense.log_prob(x)),
                (found.best()[0], dense.best()[0]),
                *zip(found.entropy_and_variance(), dense.entropy_and_variance()),
                *zip(found.certainty(), dense.certainty()),
                (denoiser.process.diffusion(found, x, z, 0.3), denoiser.process.diffusion(dense, x, z, 0.3)),
            ):
                torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
            assert torch.equal(found.best()[1], dense.best()[1])


def test_no_logits_of_a_batch_exist():
    """At most a chunk of them, of a model whose K is that of DiffusionGemma."""
    model, K = diffusion_gemma(64, vocab_size=262_144, hidden_size=8), 262_144
    denoiser, z = DiffusionGemma(model), torch.zeros(2, 64, dtype=torch.long)
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                largest = max(largest, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
            return out

    with torch.no_grad(), Sizes():
        entropy = denoiser.predict(z, 0.5).entropy()
    assert entropy.shape == z.shape
    assert largest <= max(7_000_000, K * 8)


def test_weights_keep_their_type_and_the_last_layer_is_float32(tmp_path):
    model, z = bert().to(torch.bfloat16), some_tokens()
    folder = saved(model, tmp_path)
    denoiser = import_transformers(folder, mask=MASK)
    assert {weight.dtype for weight in denoiser.parameters()} == {torch.bfloat16}
    assert denoiser.cavity(z, 0.5).dtype == torch.float32
    with torch.no_grad():
        read = denoiser._outputs(z).float()
        exact = read @ denoiser.head.weight.float().T + denoiser.head.bias.float()
    exact[..., MASK] = -torch.inf
    torch.testing.assert_close(denoiser.cavity(z, 0.5).exp(), exact.softmax(-1), rtol=0, atol=1e-6)
    wide = import_transformers(folder, mask=MASK, dtype="float32")
    assert {weight.dtype for weight in wide.parameters()} == {torch.float32}
    assert all(map(torch.equal, (w.float() for w in denoiser.parameters()), wide.parameters()))


def test_shards_and_torch_files_are_the_same_model(tmp_path):
    model, z = bert(), some_tokens()
    whole = import_transformers(saved(model, tmp_path / "whole"), mask=MASK)
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    (tmp_path / "torch").mkdir()
    torch.save(model.state_dict(), tmp_path / "torch" / "pytorch_model.bin")
    (tmp_path / "torch" / "config.json").write_bytes((tmp_path / "whole" / "config.json").read_bytes())
    for name in ("shards", "torch"):
        assert torch.equal(import_transformers(tmp_path / name, mask=MASK).cavity(z, 0.5), whole.cavity(z, 0.5))


def test_what_surrounds_a_text_is_what_the_tokenizer_says(tmp_path):
    given = import_transformers(saved(bert(), tmp_path / "given"), mask=MASK, before=[CLS], after=[SEP])
    found = import_transformers(saved(bert(), tmp_path / "found", tokenizer=True))
    apart = import_transformers(tmp_path / "given", tokenizer=tmp_path / "found" / "tokenizer.json")
    (tmp_path / "given" / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(20))])
    )
    of_bert = import_transformers(tmp_path / "given")
    z = some_tokens()
    for other in (found, apart, of_bert):
        assert torch.equal(other.cavity(z, 0.5), given.cavity(z, 0.5))
        assert (other.origin["before"], other.origin["after"], other.process.mask) == ([CLS], [SEP], MASK)
    bare = import_transformers(tmp_path / "found", before=[], after=[])
    assert (bare.longest, found.longest) == (32, 30)
    assert not torch.equal(bare.cavity(z, 0.5), given.cavity(z, 0.5))
    words = read_tokenizer(tmp_path / "found")
    assert words.encode("abc").tolist() == [5, 6, 7]
    of_config = import_transformers(saved(modernbert(), tmp_path / "modern"), mask=MASK)
    assert (of_config.origin["before"], of_config.origin["after"]) == ([CLS], [SEP])


def test_ids_that_never_stand_in_a_text():
    denoiser = MaskedLanguageModel(bert(), mask=MASK, never=[0, CLS], length=5)
    law = denoiser.cavity(some_tokens(length=5), 0.5).exp()
    assert law[..., [0, CLS, MASK]].max() == 0
    torch.testing.assert_close(law.sum(-1), torch.ones(3, 5))


def test_it_is_told_no_time_but_checks_it():
    denoiser, z = MaskedLanguageModel(bert(), mask=MASK), some_tokens()
    assert torch.equal(denoiser.cavity(z, 0.1), denoiser.cavity(z, torch.tensor([0.2, 0.5, 1.0])))
    with pytest.raises(ValueError, match="`t` must lie in"):
        denoiser.predict(z, 0.0)


def test_reverse_process_and_bound_take_both():
    for denoiser in (MaskedLanguageModel(bert(), mask=MASK, length=6), DiffusionGemma(diffusion_gemma(6))):
        x = torch.randint(5, K, (4, 6), generator=torch.Generator().manual_seed(0))
        z = denoiser.process.prior(x.shape, generator=0)
        end = reverse(denoiser.process, denoiser, z, steps=4, last="greedy", generator=0)
        assert end.shape == x.shape
        assert not (end == MASK).any() or isinstance(denoiser, DiffusionGemma)
        assert torch.isfinite(evidence_bound(denoiser.process, denoiser, x, times=2, generator=0).total).all()


def test_origin_says_what_it_is(tmp_path):
    folder = saved(bert(), tmp_path)
    assert import_transformers(folder, mask=MASK).origin == {
        "source": str(folder),
        "revision": None,
        "file": "model.safetensors",
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "weights": "as published",
        "distilled": False,
        "algorithm": "BertForMaskedLM",
        "unused": [],
        "before": [],
        "after": [],
    }


def changed(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


def test_other_heads_are_named_and_missing_tensors_refused(tmp_path):
    folder = saved(bert(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    more = weights | {"cls.species.weight": torch.zeros(6, 16)}
    save_file(more, folder / "model.safetensors", metadata={"format": "pt"})
    assert import_transformers(folder, mask=MASK).origin["unused"] == ["cls.species.weight"]
    for name, value, message in (
        ("cls.predictions.transform.dense.weight", None, r"lacks cls\.predictions\.transform\.dense\.weight"),
        ("bert.embeddings.position_embeddings.weight", torch.zeros(31, 16), r"has shape \(31, 16\), not \(32, 16\)"),
        ("cls.predictions.bias", torch.full((K,), torch.nan), "not finite"),
    ):
        other = {key: tensor for key, tensor in weights.items() if key != name}
        save_file(other if value is None else other | {name: value}, folder / "model.safetensors")
        with pytest.raises(UnreadableFile, match=message):
            import_transformers(folder, mask=MASK)


def test_inspection_says_what_is_there_and_what_is_missing_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("uddm.importers.transformers_models.read_tensors", None)
    folder = saved(bert(), tmp_path, tokenizer=True)
    found = inspect_transformers(folder)
    assert (found.model, found.vocab_size, found.missing, found.unused) == ("BertForMaskedLM", K, (), ())
    assert found.ids == {"mask": MASK, "before": [CLS], "after": [SEP]}
    weights = load_file(folder / "model.safetensors")
    assert found.parameters == sum(tensor.numel() for tensor in weights.values())
    weights["cls.species.weight"] = weights.pop("cls.predictions.bias")
    save_file(weights, folder / "model.safetensors")
    found = inspect_transformers(folder)
    assert (found.missing, found.unused) == (("cls.predictions.bias",), ("cls.species.weight",))
    assert "missing  cls.predictions.bias" in str(found)
    assert inspect_transformers(saved(diffusion_gemma(), tmp_path / "gemma")).model == "DiffusionGemmaForBlockDiffusion"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"is_decoder": True}, "causal"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "quantized"),
        ({"hidden_size": "large"}, "hidden_size"),
        ({"num_attention_heads": 3}, "BertForMaskedLM"),
        ({"model_type": "gpt2"}, "no folder of a masked language model"),
        ({"auto_map": {"AutoModelForMaskedLM": "own.Model"}}, "no folder of a masked language model"),
    ],
)
def test_configurations_that_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        import_transformers(changed(saved(bert(), tmp_path), **settings), mask=MASK)


def test_nothing_that_a_configuration_names_is_fetched_or_run(tmp_path):
    """Kernels, weights and code elsewhere: the configuration's words for them have no effect."""
    named = {"_attn_implementation": "someone/kernel", "attn_implementation": "someone/kernel"}
    named |= {"transformers_weights": "../other.safetensors", "fusion_config": {"patch_embeddings": True}}
    plain = import_transformers(saved(bert(), tmp_path), mask=MASK)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else", "peft_type": "LORA"}')
    again = import_transformers(changed(tmp_path, **named), mask=MASK)
    assert torch.equal(again.cavity(some_tokens(), 0.5), plain.cavity(some_tokens(), 0.5))


def test_bad_arguments(tmp_path):
    folder = saved(bert(), tmp_path)
    with pytest.raises(ValueError, match="which id is the mask"):
        import_transformers(folder)
    for options, message in (
        ({"mask": K}, r"`mask` must hold ids in \[0, 24\]"),
        ({"mask": MASK, "before": [-1]}, "`before`"),
        ({"mask": MASK, "never": [99]}, "`never`"),
        ({"mask": MASK, "length": 33}, "`length` must be at most 32"),
        ({"mask": MASK, "dtype": "float16"}, "`dtype`"),
    ):
        with pytest.raises(ValueError, match=message):
            import_transformers(folder, **options)
    with pytest.raises(ValueError, match="at most 30"):
        MaskedLanguageModel(bert(), mask=MASK, before=[CLS], after=[SEP]).cavity(some_tokens(length=31), 0.5)
    with pytest.raises(ValueError, match="`prompt`"):
        DiffusionGemma(diffusion_gemma(), prompt=[])
    with pytest.raises(FileNotFoundError):
        import_transformers(tmp_path / "nowhere")


def test_the_importer_of_our_layouts_names_the_other(tmp_path):
    folder = saved(bert(), tmp_path / "bert")
    for ask in (import_published, inspect_published, lambda path: convert(path, tmp_path / "out")):
        with pytest.raises(ValueError, match="`import_transformers` reads it"):
            ask(folder)


def test_only_folders_of_the_library_are_taken_for_such(tmp_path):
    assert is_transformers(saved(modernbert(), tmp_path / "a"))
    assert is_transformers(saved(diffusion_gemma(), tmp_path / "b"))
    assert not is_transformers(tmp_path)
    assert not is_transformers(tmp_path / "a" / "model.safetensors")


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    folder = saved(bert(), tmp_path)
    monkeypatch.setattr("uddm.importers.transformers_models.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'amtheory\[transformers\]'"):
        import_transformers(folder)
