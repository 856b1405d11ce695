"""Command line: python -m uddm train | sample | evaluate | inspect | import."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uddm.choices import Last, Mode, Packing, WeightType
from uddm.command_line import fail, printable, run_commands, user_errors
from uddm.config import RUNS, SHAPES, RunConfig

Checkpoint = tyro.conf.Positional[Path]
Paths = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="PATH...")]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
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
            network: HollowMLP learns in minutes on a CPU; DiT is the published transformer; Llama is told no time; by
                default the preset's.
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
    packing: Packing = "stream",
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
    text: Paths = None,
    lines: bool = False,
    corpus: Paths = None,
    packing: Packing = "stream",
    n: int = 500,
    times: int = 32,
    seed: int = 0,
    tokens: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    json: bool = False,
    dtype: WeightType = "float32",
    device: Text = None,
) -> None:
    """Bound the negative log-likelihood of text, in nats per token, bits per byte and per word, with 95 % intervals.

    With --text each document is scored by itself: cut into windows of the model's length, ended by the separator. The
    last window overlaps with the one before, and only its new tokens count; a document shorter than a window is scored
    as it is by a transformer, and not at all, which is said, by a network of one length. With B the full bound on
    -log p of a document, the sum over its tokens (separators are tokens, too): nats per token are B over their number,
    and perplexity is exp of that; bits per byte are B / log 2 over the bytes of the text in UTF-8, bits per word the
    same over what white space separates. Intervals of a document are over the noise, those of all over documents. The
    published variant is the diffusion term alone, which is no strict bound.

    Args:
        checkpoint: model folder with its tokenizer.
        text: text files in UTF-8, each one document.
        lines: each line of a text file is a document.
        corpus: in place of text, "python-docs", or text files or folders, cut into sequences as for training. Without
            either, the training and the test sequences of the run whose model it is.
        packing: how text or corpus is cut into sequences; as in the training of the model.
        n: number of sequences of a corpus, at most.
        times: diffusion times drawn for each sequence.
        seed: of the noise.
        tokens: a file, .tsv or .jsonl, which gets a row for each token of the text: its terms of the bound, log x_theta
            of it in the clean text (the cavity: given all other tokens), and the entropy of x_theta, in nats.
        json: print one JSON object.
        dtype: what half-precision weights are kept in; the numbers are the same, with "stored" in half the memory.
        device: cpu, cuda, ...; by default a GPU if there is one.
    """
    from uddm._validation import check_positive_int, check_seed

    with user_errors():
        check_positive_int("n", n)
        check_seed("seed", seed)
        if text and corpus:
            raise ValueError("`text` and `corpus` exclude each other")
        if not text and (tokens or lines):
            raise ValueError(f"`{'tokens' if tokens else 'lines'}` needs `text`")
        if tokens and tokens.suffix not in (".tsv", ".jsonl"):
            raise ValueError(f"`tokens` must be a file .tsv or .jsonl, got {str(tokens)!r}")
        model, tokenizer = _load(checkpoint, device, dtype)
        if text:
            records = _evaluate_text(model, tokenizer, text, lines, tokens, packing=packing, times=times, seed=seed)
        else:
            records = _evaluate_corpus(checkpoint, model, tokenizer, corpus, packing, n=n, times=times, seed=seed)
        if json:
            print(_as_json({"schema": 1, "model": str(checkpoint), "origin": model.origin, "results": records}))
            return
        for record in records:
            print(printable(_as_table(record), sys.stdout))


def _evaluate_text(
    model: Any, tokenizer: Any, text: Sequence[str], lines: bool, tokens: Path | None, **how: Any
) -> list[dict[str, Any]]:
    """What is said of each document, and of all."""
    from uddm.corpora.text import read_documents
    from uddm.evaluation import document_rates, overall_rates, score_documents, token_rows

    scores = score_documents(model, tokenizer, read_documents(text, lines=lines), progress=None, **how)
    scored = [score for score in scores if len(score.tokens)]
    if not scored:
        raise ValueError(f"no document has the {model.length} tokens that this model needs: join them in a --corpus")
    if tokens:
        _write_rows(tokens, token_rows(scored, tokenizer))

    def sizes(*some: Any) -> dict[str, Any]:
        counts = ((len(score.tokens), score.windows, score.size, score.words) for score in some)
        return dict(zip(("tokens", "windows", "bytes", "words"), map(sum, zip(*counts))))

    records = [
        {"name": score.name, **sizes(score)}
        | ({"intervals": "noise", "terms": document_rates(score)} if len(score.tokens) else {"unscored": True})
        for score in scores
    ]
    whole = {"name": "all", "documents": len(scored), "unscored_documents": len(scores) - len(scored), **sizes(*scored)}
    return [*records, whole | {"intervals": "documents", "terms": overall_rates(scored)}]


def _evaluate_corpus(
    checkpoint: Path, model: Any, tokenizer: Any, corpus: tuple[str, ...] | None, packing: Any, *, n: int, **how: int
) -> list[dict[str, Any]]:
    """What is said of the sequences of a corpus, or of a run."""
    import torch

    from uddm import evidence_bound
    from uddm.evaluation import TOTALS, rates

    records = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, rows in _splits(checkpoint, model, tokenizer, corpus, packing, Path(scratch)):
            x = torch.from_numpy(rows[:n].astype("int64")).to(model.device)
            bound = evidence_bound(model.process, model, x, times=how["times"], generator=how["seed"])
            if bool(bound.total.isnan().any()):
                raise FloatingPointError(f"the bound of the {name} is not a number: the weights overflow")
            nats = {term: getattr(bound, term) for term in ("diffusion", "reconstruction", "prior")}
            nats |= dict(zip(TOTALS, (bound.total, bound.published)))
            terms = rates(
                {term: values.cpu().numpy() for term, values in nats.items()},
                {"nats_per_token": [model.length] * len(x)},
            )
            sizes = {"sequences": len(x), "length": model.length, "tokens": x.numel()}
            records.append({"name": name, **sizes, "intervals": "sequences", "terms": terms})
    return records


def _as_json(value: Any) -> str:
    """JSON, in which what is not finite is null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [finite(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(value), allow_nan=False)


def _as_table(record: dict[str, Any]) -> str:
    """A record, line by line."""
    number = ("documents", "tokens", "windows", "bytes", "words")
    sizes = ", ".join(f"{record[key]:,} {key}" for key in number if key in record)
    if "sequences" in record:
        sizes = f"{record['sequences']} sequences of {record['length']} tokens"
    if record.get("unscored"):
        return f"{record['name']}: not scored, it is shorter than the windows of the model"
    more = record.get("unscored_documents")
    sizes += f" ({more:,} more not scored: shorter than a window)" if more else ""
    rows = [f"{record['name']}: {sizes}, 95 % intervals over {record['intervals']}"]
    for term, rates in record["terms"].items():
        cells = (
            f"{rate.replace('_', ' ')} {value:.4f}" + ("" if math.isnan(low) else f" [{low:.4f}, {high:.4f}]")
            for rate, (value, low, high) in rates.items()
        )
        rows.append(f"  {term:18}  " + "  ".join(cells))
    return "\n".join(rows)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A table, by the name of its file JSON lines, or tab-separated with texts as JSON strings."""
    from uddm.files import write_atomically

    if path.suffix == ".jsonl":
        pieces = [f"{_as_json(row)}\n".encode() for row in rows]
    else:
        quoted = ("document", "token")
        lines = (
            "\t".join(json.dumps(value) if name in quoted else str(value) for name, value in row.items())
            for row in rows
        )
        head = "document position id token special diffusion reconstruction prior bound log_prob entropy"
        pieces = [f"{line}\n".encode() for line in ("\t".join(head.split()), *lines)]
    write_atomically(path, pieces)


def inspect(
    source: tyro.conf.Positional[str],
    /,
    *,
    weights: Literal["ema", "raw"] = "ema",
    mask: Whole = None,
    p_unif: Number = None,
    heads: Whole = None,
    length: Whole = None,
    distilled: bool | None = None,
) -> None:
    """Say what a published checkpoint is, and what would have to be told to import it, without loading its weights.

    Args:
        source: as for `import`.
        weights: the averaged weights of a Lightning file, or the weights themselves.
        mask: id of the mask, where the file does not say.
        p_unif: share of uniform tokens in the noise of GIDD, where the file does not say.
        heads: attention heads, where the file does not say.
        length: tokens in a sequence, where the file does not say.
        distilled: whether it is a student distilled to few steps, where neither algorithm nor name says so.
    """
    from uddm.importers import inspect_published, inspect_transformers, is_transformers
    from uddm.importers.hub import local

    with user_errors():
        given: Any = {"heads": heads, "length": length, "distilled": distilled, "mask": mask, "p_unif": p_unif}
        if is_transformers(local(source)[0]):
            report = inspect_transformers(source)
        else:
            report = inspect_published(source, weights=weights, **given)
        print(printable(str(report), sys.stdout))


def import_(
    source: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    /,
    *,
    weights: Literal["ema", "raw"] = "ema",
    dtype: WeightType = "stored",
    tokenizer: Path | None = None,
    mask: Whole = None,
    p_unif: Number = None,
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
        mask: id of the mask, where the file does not say.
        p_unif: share of uniform tokens in the noise of GIDD, where the file does not say.
        heads: attention heads, where the file does not say.
        length: tokens in a sequence, where the file does not say.
        distilled: whether it is a student distilled to few steps, where neither algorithm nor name says so.
    """
    from uddm.importers import convert

    with user_errors():
        given: Any = {"heads": heads, "length": length, "distilled": distilled, "mask": mask, "p_unif": p_unif}
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


def _load(checkpoint: Path, device: str | None, dtype: WeightType = "float32") -> tuple[Any, Any]:
    from uddm._validation import check_device
    from uddm.corpora import load_tokenizer
    from uddm.denoisers import Network
    from uddm.importers import tokenizer_fits

    model = Network.from_pretrained(checkpoint, dtype=dtype).to(check_device(device))
    if not (checkpoint / "tokenizer.json").exists():
        raise ValueError(f"{checkpoint} holds no tokenizer.json: import the model with --tokenizer")
    tokenizer = load_tokenizer(checkpoint / "tokenizer.json")
    if not tokenizer_fits(tokenizer.vocab_size, model.config.vocab_size, type(model).__name__):
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
    commands = {"train": train, "sample": sample, "evaluate": evaluate, "inspect": inspect, "import": import_}
    run_commands(commands, prog="python -m uddm", description=__doc__)


if __name__ == "__main__":
    main()
