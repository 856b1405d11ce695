"""Command line: python -m bridges identities | probe."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uddm.choices import Packing
from uddm.command_line import printable, run_commands, user_errors

Files = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="FILE...")]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Number = Annotated[float | None, tyro.conf.arg(metavar="MINUTES")]


def identities(*, only: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME...")] = None) -> None:
    """Derive the paper's equations and the exact bridges, and compare them with the library; half a minute for all.

    Ends with status 1 if a corrected form is not proved, the library disagrees with it, or a printed form fails where
    no erratum is recorded.

    Args:
        only: names of identities; by default all.
    """
    from bridges.identities import IDENTITIES, REMARKS, check_all, remark_report, report, summary
    from uddm._validation import check_choice

    results = []
    with user_errors():
        if only == ():
            raise ValueError("`only` must be followed by names of identities, got none")
        for name in only or ():
            check_choice("only", name, IDENTITIES)
        for name in only or IDENTITIES:
            results += check_all([name])
            print(report(results[-1]), end="\n\n", flush=True)
    if not only:
        print(*map(remark_report, REMARKS), sep="\n\n", end="\n\n")
    print(summary(results))
    if not all(result.passed for result in results):
        sys.exit(1)


def probe(
    model: tyro.conf.Positional[str],
    /,
    *,
    suspect: Files = None,
    unseen: Files = None,
    train: Files = None,
    reference: Text = None,
    out: Path = Path("probe"),
    tokenizer: Text = None,
    packing: Packing = "stream",
    length: Whole = None,
    weights: Literal["ema", "raw"] = "ema",
    passages: int = 500,
    extracted: int = 100,
    generated: int = 200,
    draws: int = 20,
    steps: int = 32,
    passes: Whole = None,
    budget: Number = None,
    seed: int = 0,
    device: Text = None,
    json: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """Does a model memorize? A verdict in plain words, with a page, JSON and netCDF; run it again to go on.

    The verdict compares suspect text, which may have been used to train the model, with unseen text of the same source,
    which surely was not; of the model alone it says how many passages its own text repeats. Blank lines separate the
    documents of a file. It ends with status 0 whatever the verdict is.

    Args:
        model: a model folder, a published checkpoint or its folder, or hf://owner/name[@revision][/path]; a published
            one is imported into the folder of the results.
        suspect: text files or folders that may have been trained on.
        unseen: text files or folders of the same source that surely were not.
        train: text files or folders that surely were, for calibration.
        reference: a model folder of the same tokens, trained on other text; or "unigram", the frequencies of tokens.
        out: folder of the results.
        tokenizer: a tokenizer.json, BERT's vocab.txt, GPT-2's encoder.json, or a folder with one of them; by default
            that of the model folder.
        packing: how sequences of the training were cut: of "sentences" each begins with BOS and ends with EOS.
        length: tokens of a passage, of a transformer, which takes any number of them; by default the model's own.
        weights: of a Lightning file, the averaged weights, or the weights themselves.
        passages: of each side that are scored, at most.
        extracted: of each side whose reconstruction is tried, at most; one of each document.
        generated: sequences that are generated to ask the model alone.
        draws: attempts to reconstruct each passage.
        steps: of the reverse process. More of them extract more.
        passes: of a masked model, for the scores of a passage: G of them mask every G-th token at once, and find
            entropies too large; by default one for each token, which is exact.
        budget: minutes after which it ends with what is measured by then.
        seed: of everything random.
        device: cpu, cuda, ...; by default a GPU if there is one.
        json: print the JSON in place of the words.
    """
    from bridges.probing import probe as ask
    from bridges.probing.loading import documents, load
    from uddm._validation import check_seed

    with user_errors():
        check_seed("seed", seed)
        texts: dict[str, Any] = {
            name: None if files is None else documents(name, files)
            for name, files in (("suspect", suspect), ("unseen", unseen), ("train", train))
        }
        system, words = load(model, out, tokenizer=tokenizer, weights=weights, device=device, passes=passes)
        if words is None and any(texts.values()):
            raise ValueError(f"{model} has no tokenizer: name the one that it was trained with by `--tokenizer`")
        other: Any = reference
        if reference not in (None, "unigram"):
            other = load(reference, out / "reference", device=device)[0]
        how = {"passages": passages, "extracted": extracted, "generated": generated, "draws": draws, "steps": steps}
        report = ask(
            system,
            **texts,
            **how,
            reference=other,
            tokenizer=words,
            framed=packing == "sentences",
            length=length,
            budget=budget,
            folder=out,
            rng=seed,
            progress=True,
        )
        page = report.write(out)
    if json:
        print(dumps(report.to_dict(), indent=1))
        return
    print(printable("\n".join([report.verdict, *(f"  {reason}" for reason in report.reasons)]), sys.stdout))
    for check in report.checks:
        mark = {True: "passed", False: "FAILED", None: "not made"}[check.passed]
        print(printable(f"  {check.name}: {mark}. {check.detail} {check.remedy}", sys.stdout))
    print(page)


def main() -> None:
    run_commands({"identities": identities, "probe": probe}, prog="python -m bridges", description=__doc__)


if __name__ == "__main__":
    main()
