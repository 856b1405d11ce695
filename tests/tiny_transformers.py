"""Small random models of the `transformers` library, and their folders as `save_pretrained` writes them."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

PAD, UNK, CLS, SEP, MASK = range(5)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrst"]
K = len(WORDS)
SHAPE = {"vocab_size": K, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def library():
    """The `transformers` library, silent; a skip with a reason where it is not installed."""
    if find_spec("transformers") is None:
        pytest.skip("needs the library: pip install 'amtheory[transformers]'")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def bert(**shape):
    of = library()
    return _random(of.BertForMaskedLM(of.BertConfig(**SHAPE | {"max_position_embeddings": 32} | shape)))


def modernbert(**shape):
    of = library()
    special = {"pad_token_id": PAD, "cls_token_id": CLS, "bos_token_id": CLS, "sep_token_id": SEP, "eos_token_id": SEP}
    local = {"local_attention": 8, "global_attn_every_n_layers": 2, "max_position_embeddings": 64}
    return _random(of.ModernBertForMaskedLM(of.ModernBertConfig(**SHAPE | special | local | shape)))


def masked(name: str, **shape):
    """Another masked language model of the library, by the name of its configuration."""
    of = library()
    return _random(of.AutoModelForMaskedLM.from_config(getattr(of, f"{name}Config")(**SHAPE | shape)))


def diffusion_gemma(canvas_length: int = 12, **shape):
    of = library()
    heads = {"num_key_value_heads": 1, "head_dim": 8, "global_head_dim": 8, "max_position_embeddings": 64}
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
    experts = {"num_experts": 2, "top_k_experts": 1, "moe_intermediate_size": 16}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"num_key_value_heads": 1, "head_dim": 8, "position_embedding_size": 8}
    text = SHAPE | heads | layers | experts | shape
    config = of.DiffusionGemmaConfig(text_config=text, vision_config=vision, canvas_length=canvas_length)
    return _random(of.DiffusionGemmaForBlockDiffusion(config))


def _random(model):
    """With weights large enough for logits that differ, and no dropout."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                weight.normal_(0, 0.3, generator=generator)
    return model.eval()


def saved(model, folder: Path, *, tokenizer: bool = False) -> Path:
    """The folder, with a tokenizer of single letters if that is wanted."""
    model.save_pretrained(folder)
    if tokenizer:
        words().save(str(folder / "tokenizer.json"))
    return folder


def words():
    """BERT's special tokens and 20 letters, as the `tokenizers` library has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.add_special_tokens(WORDS[:5])
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", CLS), ("[SEP]", SEP)])
    return backend


MODELS = {"BERT": bert, "ModernBERT": modernbert}
OTHERS = {
    "RoBERTa": partial(masked, "Roberta", max_position_embeddings=34),
    "ESM": partial(masked, "Esm", max_position_embeddings=40, pad_token_id=PAD, mask_token_id=MASK),
    "ELECTRA": partial(masked, "Electra", max_position_embeddings=32, embedding_size=8),
}
