"""Language models that people deploy, of the `transformers` library, as denoisers.

A masked language model (BERT, RoBERTa, ModernBERT, ESM, ...) is trained to predict p(x_l | all tokens that are seen)
where it sees the mask: the cavity of absorbing noise. DiffusionGemma denoises canvases in which tokens were replaced by
uniform ones. Both are taken as `transformers` built them, in evaluation mode, from a folder by
`uddm.importers.import_transformers`; nothing here imports the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from uddm._validation import (
    check_choice,
    check_iterable,
    check_kind,
    check_positive_int,
    check_time,
    check_tokens,
)
from uddm.denoisers.base import Denoiser
from uddm.head import VocabularySums, _sums, chunk_size
from uddm.prediction import DensePrediction, HeadPrediction, Prediction
from uddm.process import MaskedProcess, UniformProcess
from uddm.process.base import PerSequence, _column

LONGEST = 512  # tokens of a sequence, unless another length is asked for
IMPOSSIBLE = -1e4  # a logit whose exponential is 0, and which can be multiplied by it


class _Pretrained(nn.Module, Denoiser):
    """A model of `transformers` with a process; not a `Network`: it is neither trained nor saved by us.

    Attributes
    ----------
    model : as `transformers` built it, taken over
    origin : source, revision, file and sha256 of its weights, and its class; None if it was not imported
    """

    def __init__(self, model: nn.Module, origin: dict[str, Any] | None = None):
        check_kind("model", model, nn.Module)
        super().__init__()
        self.model: Any = model.eval()
        self.origin = origin

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def cavity(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, "B L K"]:
        """log x_theta, (B, L, K) float32, for tokens z (B, L)."""
        return self.predict(z, t).log_probs()


class MaskedLanguageModel(_Pretrained):
    """A masked language model under absorbing noise.

    Tokens are the K ids of its embeddings; the mask is one of them. What it predicts where z is the mask is the law of
    the token given all that are seen. Where z is a token, it predicts whatever it was trained to predict there, if
    anything. It is told no time: t is checked and has no effect.

    The mask has probability 0, and so have the ids in `never`; the law is that of the model given none of them. Other
    special tokens keep the probability that the model gives them, as text may hold separators.

    If the logits are those of a last linear layer, which is tried once, they exist for a chunk of positions at a time,
    as products of float32 numbers; otherwise for a batch.

    Parameters
    ----------
    model : what `transformers.AutoModelForMaskedLM` gives; it is taken over, and its last layer taken out
    mask : the id of the mask
    before, after : ids put around each sequence before the model reads it, such as those of [CLS] and [SEP]; by default
        none. Tokens z are the text between them
    never : further ids of probability 0; by default none
    length : tokens of text in a sequence; by default as many as there are positions for, but at most 512
    origin : where the weights come from

    Raises
    ------
    ValueError : ids outside of the vocabulary, or a length for which there are no positions

    Examples
    --------
    >>> import pytest, torch
    >>> transformers = pytest.importorskip("transformers")
    >>> from uddm.denoisers import MaskedLanguageModel
    >>> shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> bert = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=9, **shape))
    >>> model = MaskedLanguageModel(bert, mask=4, before=[2], after=[3], length=6)
    >>> model.cavity(torch.tensor([[5, 4, 7, 8, 5, 6]]), 0.5).exp()[0, 1, 4].item()
    0.0
    """

    any_length = True

    _before: Integer[Tensor, " n"]
    _after: Integer[Tensor, " m"]
    _impossible: Float[Tensor, " K"]

    def __init__(
        self,
        model: nn.Module,
        *,
        mask: int,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        never: Sequence[int] = (),
        length: int | None = None,
        origin: dict[str, Any] | None = None,
    ):
        super().__init__(model, origin)
        K = int(self.model.config.vocab_size)
        hidden = _ids("mask", [mask], K) + _ids("never", never, K)
        before, after = _ids("before", before, K), _ids("after", after, K)
        self.process = MaskedProcess(K, mask=mask)
        self._around = len(before), len(after)
        self.longest = _positions(self.model) - sum(self._around)
        self.length = min(self.longest, LONGEST) if length is None else check_positive_int("length", length)
        self._check_length(self.length, "`length`")
        self.head = _taken_out(self.model)
        impossible = torch.zeros(K)
        impossible[hidden] = IMPOSSIBLE
        for name, ids in (("before", before), ("after", after)):
            self.register_buffer(f"_{name}", torch.tensor(list(ids), dtype=torch.long), persistent=False)
        self.register_buffer("_impossible", impossible, persistent=False)

    def predict(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Prediction:
        """The cavity at the masks of z (B, L); t, () or (B,) in (0, 1], is only checked."""
        z = check_tokens("z", z, self.process.state_size)
        _column(check_time("t", t), z)
        out = self._outputs(z)
        if self.head is None:
            return DensePrediction((out.float() + self._impossible).log_softmax(-1))
        bias = self._impossible if self.head.bias is None else self.head.bias.float() + self._impossible
        return HeadPrediction(out, self.head.weight, bias, z)

    def _outputs(self, z: Tensor) -> Tensor:
        """What the last layer reads, (B, L, d), or the logits of a model without one, (B, L, K)."""
        self._check_length(z.shape[1], "the length of `z`")
        before, after = (ids.expand(len(z), -1) for ids in (self._before, self._after))
        ids = torch.cat([before, z, after], 1)
        out = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return out[:, self._around[0] : self._around[0] + z.shape[1]]

    def _check_length(self, length: int, name: str) -> None:
        if length > self.longest:
            raise ValueError(f"{name} must be at most {self.longest}, the positions of the model, got {length}")


def _ids(name: str, ids: Any, K: int) -> list[int]:
    """`ids` as a list, once all are in [0, K)."""
    found = [check_positive_int(name, i, at_least=0) for i in check_iterable(name, ids)]
    if bad := [i for i in found if i >= K]:
        raise ValueError(f"`{name}` must hold ids in [0, {K - 1}], got {bad[0]}")
    return found


def _positions(model: Any) -> int:
    """How many ids the model reads at once."""
    positions = int(getattr(model.config, "max_position_embeddings", 0) or LONGEST + 2)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return positions - module.padding_idx - 1  # as in RoBERTa, whose text begins after the place of padding
    return positions


def _taken_out(model: Any) -> nn.Linear | None:
    """The last linear layer, in whose place the model now gives what it read; None if logits are not what it gives."""
    linear = model.get_output_embeddings()
    if not isinstance(linear, nn.Linear):
        return None
    given = []
    hook = linear.register_forward_hook(lambda _, inputs, output: given.append(output))
    ids = torch.arange(2, device=linear.weight.device)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    hook.remove()
    if len(given) != 1 or not torch.equal(given[0], logits):
        return None
    model.set_submodule(next(name for name, module in model.named_modules() if module is linear), nn.Identity())
    return linear


class DiffusionGemma(_Pretrained):
    """DiffusionGemma under uniform noise: a canvas of tokens, of which some were replaced by uniform draws.

    It reads a prompt, by a causal encoder, and the canvas, every token of it, and predicts the clean canvas. What is
    assumed of it, as neither its configuration nor its code says how it was trained:

    - Noise. Its sampler starts from uniform tokens, and replaces those that it does not accept by fresh ones
      (`transformers`, EntropyBoundSampler): uniform noise over all K ids. The share of noisy tokens, 1 - alpha_t, is t
      to within 1e-3.
    - Time. It is told none: what it predicts is an average over the noise that it may expect, given the canvas. t has
      no effect on the network.
    - Law. It sees the token at the place that it predicts, and is trained to predict the clean one: a posterior,
      p(x_l | z). Its cavity is then the logits less b(t) at the token itself (`uddm.process.Process.own_logit`), which
      is right only at a t that the model infers from the canvas. With `predicts="cavity"` nothing is subtracted. Which
      of the two is nearer, `bridges.probing.checks.own_token` says; where neither is, entropies are no cavity's, while
      recovery and extraction hold for whatever it predicts.
    - Self-conditioning. The sampler feeds each step's logits, at its temperature, to the next; its first step has none.
      A denoiser has no step before: here the prediction for the same canvas is fed back, `self_conditioning` times, at
      temperature 1. With none it is the model at its first step.

    The logits, 30 tanh(W h/30), exist for a chunk of positions at a time, but for those that are fed back.

    Parameters
    ----------
    model : a `transformers.DiffusionGemmaForBlockDiffusion`, taken over
    prompt : ids that come before the canvas; by default that which opens a text
    self_conditioning : how often the prediction is fed back, >= 0; default 0
    predicts : "posterior", the default, or "cavity"
    length : tokens of the canvas; by default those of its training
    origin : where the weights come from

    Raises
    ------
    ValueError : no prompt, ids outside of the vocabulary, or a number out of range

    Examples
    --------
    A small one of random weights; `uddm.importers.import_transformers` makes one of a folder:

    >>> import pytest, torch
    >>> transformers = pytest.importorskip("transformers")
    >>> from uddm.denoisers import DiffusionGemma
    >>> shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    >>> shape |= {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 9, "layer_types": ["full_attention"]}
    >>> experts = {"global_head_dim": 8, "num_experts": 2, "top_k_experts": 1, "moe_intermediate_size": 8}
    >>> text = shape | experts | {"bos_token_id": 2}
    >>> config = transformers.DiffusionGemmaConfig(text_config=text, vision_config=shape, canvas_length=6)
    >>> model = DiffusionGemma(transformers.DiffusionGemmaForBlockDiffusion(config))
    >>> model.cavity(torch.tensor([[5, 4, 7, 8, 5, 6]]), 0.5).shape
    torch.Size([1, 6, 9])
    """

    _prompt: Integer[Tensor, "1 n"]

    def __init__(
        self,
        model: nn.Module,
        *,
        prompt: Sequence[int] | None = None,
        self_conditioning: int = 0,
        predicts: Literal["posterior", "cavity"] = "posterior",
        length: int | None = None,
        origin: dict[str, Any] | None = None,
    ):
        super().__init__(model, origin)
        config = self.model.config
        text = config.get_text_config()
        self.process = UniformProcess(text.vocab_size)
        self.length = check_positive_int("length", config.canvas_length if length is None else length)
        self.predicts = check_choice("predicts", predicts, ("posterior", "cavity"))
        self.self_conditioning = check_positive_int("self_conditioning", self_conditioning, at_least=0)
        prompt = _ids("prompt", [text.bos_token_id] if prompt is None else prompt, text.vocab_size)
        if not prompt:
            raise ValueError("`prompt` must hold one id at least, got none")
        self.register_buffer("_prompt", torch.tensor([prompt]), persistent=False)

    def predict(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Prediction:
        """The cavity for canvases z (B, L) at times t, () or (B,) in (0, 1]."""
        z = check_tokens("z", z, self.process.vocab_size)
        own = _column(self.process.own_logit(t), z).float().expand(z.shape)
        found = self._prediction(z, None)
        for _ in range(self.self_conditioning):
            found = self._prediction(z, found.logits())
        found.own_logit = own if self.predicts == "posterior" else None
        return found

    def _prediction(self, z: Tensor, fed_back: Tensor | None) -> _Capped:
        out = self.model.model(
            input_ids=self._prompt.expand(len(z), -1), decoder_input_ids=z, self_conditioning_logits=fed_back
        )
        head, cap = self.model.lm_head.weight, self.model.final_logit_softcapping
        return _Capped(out.last_hidden_state, head, z, cap)


class _Capped(HeadPrediction):
    """softmax(c tanh(W h/c)), less `own_logit` at the noisy token."""

    def __init__(self, h: Tensor, weight: Tensor, z: Tensor, cap: float):
        super().__init__(h, weight, weight.new_zeros(len(weight)), z)
        self.cap = cap

    def logits(self, where: Bool[Tensor, "B L"] | None = None) -> Tensor:
        """(B, L, K), or (n, K) where a mask holds."""
        chosen = ... if where is None else where
        logits = self._bounded(nn.functional.linear(self.h[chosen], self.weight))
        return logits if self.own_logit is None else self._less_own(logits, self.z[chosen], self.own_logit[chosen])

    def log_probs(self, where: Bool[Tensor, "B L"] | None = None) -> Tensor:
        return self.logits(where).log_softmax(-1)

    def log_prob(self, tokens: Integer[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        logits = self._bounded(torch.linalg.vecdot(self.h, self.weight[tokens]))
        if self.own_logit is not None:
            logits = logits - self.own_logit * (tokens == self.z)
        return logits - self._log_Z

    def sums(self, z: Tensor, x: Tensor, c: Tensor, *, reverse: bool = False) -> VocabularySums:
        """As promised; not to be differentiated."""
        given = [value.expand(self.z.shape).flatten().split(chunk_size(self.vocab_size)) for value in (z, x, c.float())]
        chunks = iter(zip(*given))

        def reduction(logits: Tensor) -> Sequence[Tensor]:
            of_z, of_x, of_c = next(chunks)
            return _sums(logits, of_z, of_x, of_c, reverse)

        parts = self._chunked(reduction)
        return VocabularySums(*parts, *([] if reverse else [torch.zeros_like(parts[0])]))

    def _chunked(self, reduction: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        size, own = chunk_size(self.vocab_size), self.own_logit
        h, z = self.h.flatten(0, 1), self.z.flatten()
        parts = []
        for start in range(0, len(h), size):
            rows = slice(start, start + size)
            logits = self._bounded(nn.functional.linear(h[rows], self.weight))
            parts.append(reduction(logits if own is None else self._less_own(logits, z[rows], own.flatten()[rows])))
        return [torch.cat(part).view_as(self.z) for part in zip(*parts)]

    def _bounded(self, logits: Tensor) -> Tensor:
        return self.cap * (logits / self.cap).tanh()

    @staticmethod
    def _less_own(logits: Tensor, z: Tensor, own: Tensor) -> Tensor:
        return logits.scatter_add(-1, z[..., None], -own[..., None])
