"""Command line: python -m uddm train | sample | evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uddm.command_line import run_commands, user_errors

Checkpoint = tyro.conf.Positional[Path]


def train(
    out: tyro.conf.Positional[Path],
    /,
    *,
    corpus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ("python-docs",),
    tokenizer: str = "letters",
    length: int = 16,
    sequences: int | None = None,
    network: Literal["HollowMLP", "DiT"] = "HollowMLP",
    hidden_dim: int = 160,
    blocks: int = 3,
    dropout: float = 0.0,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    ema: float = 0.998,
    seed: int = 0,
) -> None:
    """Train a network on text; run it again after an interruption to go on.

    Args:
        out: run folder; the finished model stands in its folder `model`.
        corpus: "python-docs" (English documentation of this Python installation), or text files or folders.
        tokenizer: letters, characters:K, bytes, bpe:K, gpt2:FOLDER, bert:VOCAB_FILE, or a tokenizer.json.
        length: tokens in a sequence.
        sequences: size of the training subset, a prefix of one permutation; all by default.
        network: HollowMLP learns in minutes on a CPU; DiT is the published transformer.
        hidden_dim: width of the network.
        blocks: depth of the network.
        dropout: on the residual branches.
        steps: optimizer steps.
        batch_size: sequences in a step.
        learning_rate: of AdamW, with warm-up and cosine decay.
        ema: decay of the weight average.
        seed: of data split, weights and training.
    """
    import torch

    import uddm
    from uddm.corpora import load_corpus, prepare_blocks, tokenizer_from_name
    from uddm.denoisers import NETWORKS
    from uddm.streams import keyed_seed

    with user_errors():
        text = load_corpus(corpus)
        tokens = tokenizer_from_name(tokenizer, text)
        blocks_on_disk = prepare_blocks(text, tokens, length, cache_dir=out / "corpus", seed=seed)
        data = torch.from_numpy(blocks_on_disk.train(sequences))
        shape = {"length": length, "hidden_dim": hidden_dim, "blocks": blocks, "dropout": dropout}
        config = NETWORKS[network].Config(tokens.vocab_size, **shape)
        recipe = uddm.TrainConfig(
            **{"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "ema": ema, "seed": seed},
            **{"warmup": min(100, steps), "decay": "cosine", "betas": (0.9, 0.99), "checkpoint_every": 500},
        )
        torch.manual_seed(keyed_seed(seed, "weights"))
        uddm.train(NETWORKS[network](config), data, recipe, out, tokenizer=tokens)
    print(out / "model")


def sample(
    checkpoint: Checkpoint,
    /,
    *,
    n: int = 10,
    steps: int = 200,
    mode: Literal["sample", "posterior_mode", "x0_mode", "one_shot"] = "sample",
    seed: int = 0,
) -> None:
    """Generate text from noise.

    Args:
        checkpoint: model folder with its tokenizer.
        n: number of sequences.
        steps: steps of the reverse process.
        mode: how each step chooses its tokens.
        seed: of the noise and of the reverse process.
    """
    from uddm import reverse
    from uddm._validation import check_positive_int

    with user_errors():
        check_positive_int("n", n)
        model, tokenizer = _load(checkpoint)
        noise = model.process.prior((n, model.length), generator=seed)
        x = reverse(model.process, model, noise, steps=steps, mode=mode, generator=seed, progress=True)
    for row in x:
        print(tokenizer.decode(row.tolist()))


def evaluate(
    checkpoint: Checkpoint,
    /,
    *,
    corpus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")],
    n: int = 500,
    times: int = 32,
    seed: int = 0,
) -> None:
    """Bound the negative log-likelihood of text, in nats per token with standard errors over sequences.

    Args:
        checkpoint: model folder with its tokenizer.
        corpus: "python-docs", or text files or folders.
        n: number of sequences, at most.
        times: diffusion times drawn for each sequence.
        seed: of the noise.
    """
    import tempfile

    import torch

    from uddm import evidence_bound
    from uddm._validation import check_positive_int
    from uddm.corpora import load_corpus, prepare_blocks

    with user_errors(), tempfile.TemporaryDirectory() as scratch:
        check_positive_int("n", n)
        model, tokenizer = _load(checkpoint)
        text = load_corpus(corpus)
        blocks = prepare_blocks(text, tokenizer, model.length, cache_dir=scratch, test_fraction=0.0)
        x = torch.from_numpy(blocks.train(min(n, blocks.train_size)))
        bound = evidence_bound(model.process, model, x, times=times, generator=seed)
    terms = {**bound._asdict(), "full bound": bound.total, "published variant": bound.published}
    print(f"{len(x)} sequences of {model.length} tokens, nats per token")
    for name, values in terms.items():
        per_token = values / model.length
        error = per_token.std() / len(x) ** 0.5 if len(x) > 1 else torch.tensor(float("nan"))
        print(f"{name:20}{per_token.mean():8.4f} +- {error:.4f}")


def _load(checkpoint: Path) -> tuple[Any, Any]:
    from uddm.checkpoints import load_pretrained
    from uddm.corpora import load_tokenizer

    model = load_pretrained(checkpoint)
    return model, load_tokenizer(checkpoint / "tokenizer.json")


def main() -> None:
    run_commands({"train": train, "sample": sample, "evaluate": evaluate}, prog="python -m uddm", description=__doc__)


if __name__ == "__main__":
    main()
