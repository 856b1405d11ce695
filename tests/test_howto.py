"""The how-to pages are true: what each shows is ten lines, and joins the common suites without another file's help."""

import ast
import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest

PAGES = Path(__file__).resolve().parents[1] / "docs" / "howto"
SUITES = {
    "memory": ("memory", "system"),
    "network": ("denoiser", "system"),
    "process": ("process",),
    "measurement": ("measurement",),
    "figure": ("figure",),
}
# a change of what each page shows that breaks its contract, and the test that finds it
BREACHES = {
    "memory": ('check.spins("patterns", patterns)', "np.asarray(patterns)", "test_bad_patterns_and_states_are_named"),
    "network": ("self.right(z[:, 1:]), (0, 0, 0, 1)", "self.right(z), (0, 0, 0, 0)", "test_hollow_is_what_it_says"),
    "process": ("-self.rate(t)", "-self.alpha(t)", "test_diffusion_term_is_the_limit_of_small_steps"),
    "measurement": ('as_tokens("x", x, system)', "x", "test_bad_sequences_are_named"),
    "figure": ("{ds.overlap.values[-1]:.3f}", "low", "test_its_words_are_complete"),
}


def code(page):
    return re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL)[0]


def shown(page):
    """The name of what a page adds: its only class or function, or that of the module."""
    if page == "figure":
        return "howto_figure"
    (name,) = (node.name for node in ast.parse(code(page)).body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return name


def broken(page):
    """What the page shows, under another name and not as it should be."""
    right, wrong, _ = BREACHES[page]
    assert right in code(page)
    return code(page).replace(right, wrong).replace(shown(page), f"broken_{page}")


@pytest.fixture(scope="module")
def failures(tmp_path_factory, repository):
    """Of the common suites on what the pages show, each in a module that pytest is told of: (suite, test) -> what
    was wrong."""
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short"]
    command += [f"--junitxml={folder / 'results.xml'}"]
    chosen = [f"(broken_{page} and {test})" for page, (*_, test) in BREACHES.items()]
    for page in SUITES:
        chosen.append(shown(page))
        (folder / f"howto_{page}.py").write_text(code(page))
        (folder / f"howto_broken_{page}.py").write_text(broken(page))
        command += ["-p", f"howto_{page}", "-p", f"howto_broken_{page}"]
    files = [f"tests/common/test_every_{suite}.py" for suite in sorted({*chain(*SUITES.values())})]
    done = subprocess.run(
        [*command, *files, "-k", " or ".join(chosen)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = ElementTree.parse(folder / "results.xml").iter("testcase")
    return {
        (case.attrib["classname"].split("_")[-1], case.attrib["name"]): [
            found.text for found in case if found.tag in ("failure", "error")
        ]
        for case in cases
    }


@pytest.mark.parametrize("page", [*SUITES, "identity", "claim"])
def test_it_is_ten_lines(page):
    lines = [line for line in code(page).splitlines() if line.strip() and not re.match("import |from ", line)]
    assert len(lines) <= 10


@pytest.mark.parametrize("page", SUITES)
def test_it_joins_the_common_suites_and_passes(page, failures):
    for suite in SUITES[page]:
        own = {test: found for (of, test), found in failures.items() if of == suite and shown(page) in test}
        assert len(own) > 5, f"test_every_{suite}.py has not taken up {shown(page)}"
        assert not {test: found for test, found in own.items() if found}


@pytest.mark.parametrize("page", SUITES)
def test_what_breaks_the_contract_fails(page, failures):
    """Negative control."""
    found = [wrong for (_, test), wrong in failures.items() if f"broken_{page}" in test and BREACHES[page][2] in test]
    assert any(found)


def test_the_identity_is_proved_and_a_wrong_one_is_not():
    from bridges.identities import IDENTITIES, check

    with mock.patch.dict(IDENTITIES):
        exec(code("identity"), {})
        assert check("two-state-logit").passed
        exec(code("identity").replace("2 * sp.atanh", "3 * sp.atanh"), {})
        assert not check("two-state-logit").passed


def test_the_claim_is_decided_either_way():
    import xarray as xr

    from bridges import CLAIMS

    def copied(*shares):
        values = [[[share, share + 0.01, share - 0.01] for share in shares]]
        return xr.DataArray(values, {"system": ["text"], "size": [1000, 10]}, ("system", "size", "repeat"))

    with mock.patch.dict(CLAIMS):
        exec(code("claim"), {})
        for shares, verdict in (((0.03, 0.9), "supported"), ((0.6, 0.9), "refuted"), ((0.1, 0.9), "undecided")):
            assert CLAIMS["C19"].decide(xr.Dataset({"copied": copied(*shares)})).verdict == verdict


def test_the_table_of_contents_is_complete():
    listed = re.search(r"{toctree}\n(.*?)```", (PAGES / "index.md").read_text(), re.DOTALL)[1].split()
    assert sorted([*listed, "index"]) == sorted(page.stem for page in PAGES.glob("*.md"))


@pytest.mark.parametrize("page", [page.stem for page in PAGES.glob("*.md")])
def test_the_files_it_names_exist(page):
    text = re.sub(r"```.*?```", "", (PAGES / f"{page}.md").read_text(), flags=re.DOTALL)
    for path in set(re.findall(r"`((?:tests|amtheory|uddm|bridges|paper_figures)/[\w/.]*)`", text)):
        assert (PAGES.parents[1] / path).exists(), path
