"""python -m bridges: what it prints, and the status it ends with."""

import subprocess
import sys
from dataclasses import replace

import pytest

from bridges import identities
from bridges.__main__ import main


def run(monkeypatch, *words):
    """Exit status of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["bridges", *words])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_chosen_identities_are_printed(monkeypatch, capsys):
    assert run(monkeypatch, "identities", "--only", "own-logit", "nothing-changed") == 0
    printed = capsys.readouterr().out
    first, second, count = printed.strip().split("\n\n")
    assert first.startswith("own-logit: not in arXiv 2604.26841\n")
    assert second.startswith("nothing-changed: eq. (12) of arXiv 2604.26841\n")
    for block in (first, second):
        for label in ("statement", "derived", "as printed", "corrected   holds: ", "library"):
            assert f"\n  {label}" in block
    assert "  as printed  FAILS: 0\n  erratum     the rate is 0/0" in second
    assert count == "2 of 2 identities pass; of 1 printed forms 0 hold and 1 fail: (12)"
    assert max(map(len, printed.splitlines())) <= 100


def test_without_a_choice_all_are_printed_with_what_no_equation_settles(monkeypatch, capsys):
    few = {name: identities.IDENTITIES[name] for name in ("own-logit", "nothing-changed")}
    monkeypatch.setattr(identities, "IDENTITIES", few)
    assert run(monkeypatch, "identities") == 0
    printed = capsys.readouterr().out
    for start in (*few, "section 3.1", "appendix A, tokenizer", "table 1, scale by sigma", "2 of 2 identities pass"):
        assert sum(line.startswith(start) for line in printed.splitlines()) == 1
    assert max(map(len, printed.splitlines())) <= 100


def test_a_failing_identity_ends_with_status_1(monkeypatch, capsys):
    sides = identities.IDENTITIES["own-logit"].sides()
    wrong = replace(identities.IDENTITIES["own-logit"], sides=lambda: replace(sides, corrected=-sides.corrected))
    monkeypatch.setitem(identities.IDENTITIES, "own-logit", wrong)
    assert run(monkeypatch, "identities", "--only", "own-logit") == 1
    printed = capsys.readouterr().out
    assert "*** does not pass ***" in printed
    assert "corrected   FAILS: " in printed
    assert "0 of 1 identities pass" in printed


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["own-logit", "nonsense"], "error: `only` must be one of 'update', 'margin', "),
        ([], "error: `only` must be followed by names of identities, got none\n"),
    ],
)
def test_user_errors(monkeypatch, capsys, names, message):
    assert run(monkeypatch, "identities", "--only", *names) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert not printed.out, "nothing is derived before all names are known"


@pytest.mark.parametrize("words", [["--help"], ["identities", "--help"]])
def test_help(monkeypatch, capsys, words):
    assert run(monkeypatch, *words) == 0
    assert "--only" in capsys.readouterr().out or words == ["--help"]


def test_it_is_a_program(repository):
    words = [sys.executable, "-m", "bridges", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=repository)
    assert "identities" in done.stdout
