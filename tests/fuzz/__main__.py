"""Readers of files of strangers under coverage-guided fuzzing: ``python -m tests.fuzz [READER ...] [--seconds N]``.

atheris (libFuzzer) runs each in a process of its own, from files that the tests make; what no reader may do, another
exception, a crash, more than 60 s or 4 GiB for one file, ends it, and the file that did so is kept.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILED = ["uddm.denoisers.empirical_bayes", "uddm.hierarchy._kernels"]  # by numba, which knows of no coverage


def fuzz(reader: str, seconds: int, folder: str) -> None:
    """Does not return."""
    import atheris

    with atheris.instrument_imports(include=["uddm", "bridges"], exclude=COMPILED):
        from tests.fuzz import readers

    corpus = Path(folder) / "corpus"
    corpus.mkdir()
    for n, data in enumerate(readers.samples(reader)):
        (corpus / str(n)).write_bytes(data)
        readers.read(reader, data)  # which imports what is imported on first use

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        """By our changes, which know of numbers in JSON, or those of libFuzzer."""
        return readers.changed(data, random.Random(seed))[:most] if seed % 2 else atheris.Mutate(data, most)

    words = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-timeout=60"]
    words += ["-rss_limit_mb=4096", "-max_len=100000", f"-seed={1 + random.getrandbits(16)}", str(corpus)]
    atheris.Setup([sys.argv[0], *words], lambda data: readers.read(reader, data), custom_mutator=mutated)
    atheris.Fuzz()


def main() -> str | None:
    from tests.fuzz.readers import READERS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    options = parser.parse_args()
    failed = 0
    for reader in options.readers or READERS:
        folder = tempfile.mkdtemp(prefix=f"fuzz-{reader}-")
        call = f"from tests.fuzz.__main__ import fuzz; fuzz({reader!r}, {options.seconds}, {folder!r})"
        done = subprocess.run(
            [sys.executable, "-c", call], capture_output=True, text=True, check=False, errors="replace"
        )
        runs = re.findall(r"number_of_executed_units: *(\d+)", done.stderr) or re.findall(r"#(\d+)", done.stderr)[-1:]
        print(f"{reader}: {runs[0] if runs else 'no'} executions, {'a finding' if done.returncode else 'no finding'}")
        if done.returncode:
            failed += 1
            print(done.stderr[-3000:], *Path(folder).glob("*-*"), sep="\n", flush=True)
    return f"{failed} readers with findings" if failed else None


if __name__ == "__main__":
    sys.exit(main())
