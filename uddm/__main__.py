"""Command line: python -m uddm train | sample | evaluate | import."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uddm.choices import Last, Mode, WeightType
from uddm.command_line import fail, printable, run_commands, user_errors
from uddm.config import RUNS, SHAPES, RunConfig

Checkpoint = tyro.conf.Positional[Path]
Paths = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="PATH...")]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]


def _train(preset: str, network: str) -> Callable[..., None]:
    """The command whose options are those of a preset's run, or of the same with another network."""
    start = RUNS[preset]
    if network != start.network.name:
        shared = {f.name for f in fields(SHAPES[network])}
        start = replace(start, network=SHAPES[network](**{k: v for k, v in vars(start.network).items() if k in shared}))

    def train(
        out: tyro.conf.Positional[Path],
        /,
        *,
        preset: Literal[tuple(RUNS)] = preset,  # type: ignore[valid-type]
        network: Literal[tuple(SHAPES)] = network,  # type: ignore[valid-type]
        settings: Annotated[RunConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = start,
        device: Text = None,
        micro_batch: Whole = None,
        parallel: Literal["ddp", "fsdp"] = "ddp",
        compile: bool = False,
        deterministic: bool = False,
        tensorboard: bool = False,
    ) -> None:
        """Train a network on text; run it again after an interruption to go on. Under torchrun, on several processes.

        Args:
            out: run folder; the finished model stands in its folder `model`.
            preset: whose settings are shown here. "letters" learns prose, 16 letters at a time, in a minute on a CPU;
                "paper-*" are the published transformers on LM1B, and want --corpus and --tokenizer.
            network: HollowMLP learns in minutes on a CPU; DiT is the published transformer; by default the preset's.
            settings: in place of what the preset says.
            device: cpu, cuda, ...; by default a GPU if there is one.
            micro_batch: sequences in one forward pass of a process; gradients accumulate over the batch.
            parallel: on several processes, copies of the model or shards of it.
            compile: torch.compile the network.
            deterministic: the same bits each time, also on a GPU.
            tensorboard: also write TensorBoard events.
        """
        from uddm.training import run
        from uddm.training.distributed import process_group, rank

        with user_errors(), process_group(device) as own:
            how = {"micro_batch": micro_batch, "parallel": parallel, "compile": compile, "deterministic": deterministic}
            run(out, settings, device=own, tensorboard=tensorboard, **how)
            if rank() == 0:
                print(out / "model")

    return train


def sample(
    checkpoint: Checkpoint,
    /,
    *,
    n: int = 10,
    steps: int = 200,
    mode: Mode = "sample",
    last: Last = "ancestral",
    nucleus: float = 1.0,
    prompt: Text = None,
    packing: Literal["stream", "sentences"] = "stream",
    seed: int = 0,
    format: Literal["text", "json"] = "text",
    device: Text = None,
) -> None:
    """Generate text from noise, or after a prompt.

    Args:
        checkpoint: model folder with its tokenizer.
        n: number of sequences.
        steps: steps of the reverse process.
        mode: how each step chooses its tokens.
        last: the last update.
        nucleus: share of x_theta that is kept, its most probable tokens.
        prompt: what each sequence begins with, of fewer tokens than it has.
        packing: how the text of the training was cut: of "sentences" each sequence begins with BOS, and a prompt
            follows it.
        seed: of the noise and of the reverse process.
        format: "text" as it is, a terminal being spared control characters, or "json", a string on a line for each
            sequence.
        device: cpu, cuda, ...; by default a GPU if there is one.
    """
    import torch

    from uddm import reverse
    from uddm._validation import check_positive_int, check_seed
    from uddm.streams import keyed_seed

    with user_errors():
        check_positive_int("n", n)
        check_seed("seed", seed)
        model, tokenizer = _load(checkpoint, device)
        noise = model.process.prior((n, model.length), generator=keyed_seed(seed, "noise")).to(model.device)
        how = {"steps": steps, "mode": mode, "last": last, "nucleus": nucleus}
        if prompt is not None:
            given = torch.from_numpy(_prompt(prompt, tokenizer, packing, model.length)).to(model.device)
            noise[:, : len(given)] = given
            how["keep"] = torch.arange(model.length) < len(given)
        for row in reverse(model.process, model, noise, **how, generator=seed, progress=True):
            text = tokenizer.decode(row.tolist())
            print(json.dumps(text) if format == "json" else printable(text, sys.stdout))


def evaluate(
    checkpoint: Checkpoint,
    /,
    *,
    corpus: Paths = None,
    packing: Literal["stream", "sentences"] = "stream",
    n: int = 500,
    times: int = 32,
    seed: int = 0,
    device: Text = None,
) -> None:
    """Bound the negative log-likelihood of text, in nats per token, with 95 % intervals over sequences.

    Args:
        checkpoint: model folder with its tokenizer.
        corpus: "python-docs", or text files or folders. By default the training and the test sequences of the run
            whose model it is.
        packing: how the corpus is cut into sequences.
        n: number of sequences, at most.
        times: diffusion times drawn for each sequence.
        seed: of the noise.
        device: cpu, cuda, ...; by default a GPU if there is one.
    """
    import torch

    from uddm import evidence_bound
    from uddm._validation import check_positive_int, check_seed

    with user_errors(), tempfile.TemporaryDirectory() as scratch:
        check_positive_int("n", n)
        check_seed("seed", seed)
        model, tokenizer = _load(checkpoint, device)
        for name, rows in _splits(checkpoint, model, tokenizer, corpus, packing, Path(scratch)):
            x = torch.from_numpy(rows[:n].astype("int64")).to(model.device)
            bound = evidence_bound(model.process, model, x, times=times, generator=seed)
            if bool(bound.total.isnan().any()):
                raise FloatingPointError(f"the bound of the {name} is not a number: the weights overflow")
            terms = {
                "diffusion": bound.diffusion,
                "reconstruction": bound.reconstruction,
                "prior": bound.prior,
                "published variant": bound.published,
                "full bound": bound.total,
            }
            print(f"{name}: {len(x)} sequences of {model.length} tokens, nats per token, 95 % intervals")
            for term, values in terms.items():
                mean = values.mean().item() / model.length
                half = 1.96 * values.std().item() / model.length / len(x) ** 0.5 if len(x) > 1 else float("nan")
                perplexity = f"   perplexity {math.exp(min(mean, 700.0)):10.3f}" if " " in term else ""
                print(f"  {term:20}{mean:9.4f}  [{mean - half:.4f}, {mean + half:.4f}]{perplexity}")


def import_(
    source: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    /,
    *,
    weights: Literal["ema", "raw"] = "ema",
    dtype: WeightType = "stored",
    tokenizer: Path | None = None,
    heads: Whole = None,
    length: Whole = None,
    distilled: bool | None = None,
) -> None:
    """Turn a published checkpoint into a model folder, without running anything that is in it; says what was found.

    Args:
        source: a Lightning .ckpt file, a folder with config.json and model.safetensors, or one of them on the hub,
            written owner/name or hf://owner/name[@revision][/path].
        out: new model folder.
        weights: the averaged weights of a Lightning file, or the weights themselves.
        dtype: half-precision weights as they are stored, in half the space, or as float32; either way training reads
            float32.
        tokenizer: saved along: a tokenizer.json, BERT's vocab.txt, GPT-2's encoder.json, or a folder with one of them.
        heads: attention heads, where the file does not say.
        length: tokens in a sequence, where the file does not say.
        distilled: whether it is a student distilled to few steps, where neither algorithm nor name says so.
    """
    from uddm.importers import convert

    with user_errors():
        given: Any = {"heads": heads, "length": length, "distilled": distilled}
        report = convert(source, out, weights=weights, dtype=dtype, tokenizer=tokenizer, **given)
        print(printable(str(report), sys.stdout))


def _splits(
    checkpoint: Path, model: Any, tokenizer: Any, corpus: tuple[str, ...] | None, packing: Any, scratch: Path
) -> list[tuple[str, Any]]:
    """Names and token blocks (N, L) of what is to be evaluated."""
    from uddm.corpora import TokenBlocks, load_corpus, prepare_blocks
    from uddm.files import read_json
    from uddm.training.batches import Sequences

    if corpus:
        options = {"cache_dir": scratch, "packing": packing, "test_fraction": 0.0}
        blocks = prepare_blocks(load_corpus(corpus), tokenizer, model.length, **options)
        return [(" ".join(corpus), blocks.train(copy=False))]
    run = checkpoint.resolve().parent
    data = read_json(run / "config.json").get("data") if (run / "config.json").exists() else None
    why = f"{run} is no run folder with the token blocks of this model"
    if isinstance(data, dict) and {"sequences", "sha256"} <= data.keys():
        for index in run.glob("corpus/blocks-*/index.json"):
            blocks = TokenBlocks(index.parent)
            if (blocks.length, blocks.vocab_size) != (model.length, model.config.vocab_size):
                continue
            training = blocks.train(min(data["sequences"], blocks.train_size), copy=False)
            if Sequences(training, model).sha256 == data["sha256"]:
                return [("training set", training), ("test set", blocks.test(copy=False))]
            why = f"the blocks in {index.parent} differ from those of the training"
    raise ValueError(f"`corpus` must be given: {why}")


def _prompt(text: str, tokenizer: Any, packing: str, length: int) -> Any:
    """The ids (n,) that a sequence of `length` tokens begins with."""
    import numpy as np

    ids = tokenizer.encode(text)
    if not len(ids):
        raise ValueError(f"`prompt` must have at least one token, got none in {text!r}")
    if packing == "sentences":
        if tokenizer.bos_id is None:
            raise ValueError("`packing` 'sentences' needs a tokenizer with a BOS token")
        ids = np.concatenate([[tokenizer.bos_id], ids])
    if len(ids) >= length:
        raise ValueError(f"`prompt` must have fewer tokens than a sequence, which has {length}, got {len(ids)}")
    return ids


def _load(checkpoint: Path, device: str | None) -> tuple[Any, Any]:
    from uddm._validation import check_device
    from uddm.corpora import load_tokenizer
    from uddm.denoisers import Network

    model = Network.from_pretrained(checkpoint).to(check_device(device))
    if not (checkpoint / "tokenizer.json").exists():
        raise ValueError(f"{checkpoint} holds no tokenizer.json: import the model with --tokenizer")
    tokenizer = load_tokenizer(checkpoint / "tokenizer.json")
    if tokenizer.vocab_size != model.config.vocab_size:
        sizes = f"{tokenizer.vocab_size} tokens, the model {model.config.vocab_size}"
        raise ValueError(f"{checkpoint} holds a tokenizer of another model: it has {sizes}")
    return model, tokenizer


def _chosen(words: Sequence[str]) -> tuple[str, str]:
    """The preset and the network that the words name, on which the other options depend; what is wrong with them is
    told by the command itself."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", choices=RUNS, default="letters")
    parser.add_argument("--network", choices=SHAPES)
    try:
        found = parser.parse_known_args(words)[0]
    except argparse.ArgumentError:
        found = parser.parse_args([])
    network = found.network or RUNS[found.preset].network.name
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    own, known = (
        {f.name for shape in shapes for f in fields(shape)} for shapes in ([SHAPES[network]], SHAPES.values())
    )
    if foreign := sorted(given & (known - own)):
        fail(f"`{foreign[0]}` is no option of a {network}")
    return found.preset, network


def main() -> None:
    train = _train(*_chosen(sys.argv[2:] if sys.argv[1:2] == ["train"] else []))
    commands = {"train": train, "sample": sample, "evaluate": evaluate, "import": import_}
    run_commands(commands, prog="python -m uddm", description=__doc__)


if __name__ == "__main__":
    main()
