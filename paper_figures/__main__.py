"""Command line: python -m paper_figures list | run | status | report | claims | verify."""

from __future__ import annotations

import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from paper_figures.presets import PRESETS, named
from paper_figures.slurm_options import SlurmOptions
from uddm.command_line import printable, run_commands, user_errors

AGAIN = "run the same command again to go on with what the system was to blame for, with --retry-failed to try all"


def list_figures() -> None:
    """Name the figures, the claims and the presets."""
    from bridges.claims import CLAIMS
    from paper_figures.figure import known

    for name, figure in known().items():
        print(f"{name:24}{figure.TITLE}")
    print()
    for name, claim in CLAIMS.items():
        print(f"{name:24}{claim.statement}")
    print()
    for name, preset in PRESETS.items():
        print(f"{name:24}{preset.about}")


def run(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    *,
    preset: str = "laptop",
    out: Path | None = None,
    corpus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ("python-docs",),
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    checkpoints: Annotated[str | None, tyro.conf.arg(metavar="DIR|hf://OWNER/NAME")] = None,
    half: bool = False,
    sequences: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    device: str = "cpu",
    jobs: int | None = None,
    seed: int = 0,
    retry_failed: bool = False,
    engine: Literal["loky", "dask", "slurm"] = "loky",
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None,
    slurm: tyro.conf.OmitArgPrefixes[SlurmOptions] = SlurmOptions(),  # noqa: B008, it is frozen
    replot: bool = False,
) -> None:
    """Make figures, decide claims and write the report; run it again after an interruption to go on.

    What fails stops nothing else: it is listed at the end, with exit status 1.

    Args:
        names: figures to make and claims to decide, all by default; a figure of your own, the path of its file.
        preset: scale of the experiments, see `list`.
        out: results folder, results/PRESET by default.
        corpus: "python-docs" (English documentation of this Python installation), or text files or folders.
        tokenizer: letters, characters:K, bytes, bpe:K, gpt2:FOLDER, bert:VOCAB_FILE, or a tokenizer file or folder; by
            default that of the preset.
        checkpoints: published networks, <size>/lm1b-<size>-<fraction>.ckpt, measured in the place of those that the
            preset trains.
        half: measure these in half precision too.
        sequences: measure at most so many of each kind; by default as many as the preset says.
        device: of networks, cpu, cuda, ...
        jobs: processes, one for each core by default, four on a GPU.
        seed: of data split, training and measurements.
        retry_failed: try what failed before with the same code, too.
        engine: where the cells are made: in processes of this machine, on a Dask cluster, or in job arrays of Slurm.
        address: of the scheduler of a Dask cluster; by default one of this machine is started for the run.
        slurm: of engine slurm.
        replot: draw and decide again from the datasets that the results folder holds, and compute nothing.
    """
    from bridges.claims import CLAIMS
    from paper_figures.engines import dask
    from paper_figures.figure import choose
    from paper_figures.runner import SweepError
    from paper_figures.runner import replot as again
    from paper_figures.runner import run as make
    from paper_figures.slurm import AT_ONCE, Slurm
    from paper_figures.sweep import at_once
    from paper_figures.workspace import Workspace
    from uddm._validation import check_device, check_seed

    with user_errors():
        check_seed("seed", seed)
        choose([name for name in names if name not in CLAIMS])
        if address is not None and engine != "dask":
            raise ValueError("`address` is that of a Dask cluster: add --engine dask")
        if jobs is not None and jobs < 1:
            raise ValueError(f"`jobs` must be at least 1, got {jobs}")
        if replot:
            print(again(out or Path("results") / preset, names))
            return
        if sequences is not None and sequences < 2:
            raise ValueError(f"`sequences` must be at least 2, got {sequences}")
        folder = out or Path("results") / preset
        print(f"preset {preset} ({named(preset).about}), results in {folder}; reading the corpus", file=sys.stderr)
        options = {"tokenizer": tokenizer, "checkpoints": checkpoints, "half": half, "sequences": sequences}
        workspace = Workspace(folder, preset, corpus=corpus, seed=seed, device=str(check_device(device)), **options)
        workspace.prepare()
    try:
        with ExitStack() as stack:
            how: dict[str, Any] = {"jobs": jobs}
            if engine == "dask":
                stack.enter_context(dask(address, at_once(jobs)))
            elif engine == "slurm":
                how = {"jobs": jobs or AT_ONCE, "engine": Slurm(slurm)}
            print(make(workspace, names, retry_failed=retry_failed, **how))
    except SweepError as error:
        if error.report:
            print(error.report)
        print(printable(f"{error}\n{AGAIN}", sys.stderr), file=sys.stderr)
        sys.exit(1)


def status(folder: tyro.conf.Positional[Path], /) -> None:
    """Say how far a run is: what is done, what runs where, what failed, what is left, and when it will end.

    Args:
        folder: the results folder, seen from any machine; nothing is written to it.
    """
    from paper_figures.status import status as table

    with user_errors():
        print(printable(table(folder), sys.stdout))


def report(folder: tyro.conf.Positional[Path], /) -> None:
    """Assemble report.html again from the figures in a results folder.

    Args:
        folder: the results folder.
    """
    from paper_figures.report import write_report

    with user_errors():
        print(write_report(folder))


def claims(folder: tyro.conf.Positional[Path], /) -> None:
    """Print the claims of a results folder, each with its verdict and the numbers it rests on.

    Args:
        folder: the results folder.
    """
    from paper_figures.report import claims_table

    with user_errors():
        print(claims_table(folder))


def verify(folder: tyro.conf.Positional[Path], /) -> None:
    """Check that a results folder is whole and unaltered; exit status 1 if not.

    Args:
        folder: the results folder.
    """
    from paper_figures.report import verify as problems_in

    with user_errors():
        problems = problems_in(folder)
    for problem in problems:
        print(problem)
    print(f"{folder}: {len(problems)} problem(s)" if problems else f"{folder}: whole")
    sys.exit(1 if problems else 0)


def main() -> None:
    # joblib renews a worker that has grown, and says so as if something were wrong
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
    commands = {
        "list": list_figures,
        "run": run,
        "status": status,
        "report": report,
        "claims": claims,
        "verify": verify,
    }
    run_commands(commands, prog="python -m paper_figures", description=__doc__)


if __name__ == "__main__":
    main()
