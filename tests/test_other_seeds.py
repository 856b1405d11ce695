"""`python -m tests.seeds`: what moves seeds, what is counted, and how many false alarms are too many."""

from collections import Counter
from types import SimpleNamespace

import pytest
import seeds


@pytest.mark.parametrize(("text", "numbers"), [(None, [0]), ("0", [0]), ("7", [7]), ("1-3", [1, 2, 3]), ("5-5", [5])])
def test_the_environment_says_which_seeds(text, numbers, monkeypatch):
    monkeypatch.delenv("TEST_SEED", raising=False)
    if text is not None:
        monkeypatch.setenv("TEST_SEED", text)
    assert list(seeds.numbers()) == numbers


@pytest.mark.parametrize("text", ["", "-1", "x", "1-", "1,2", "1.5"])
def test_what_is_no_number_is_said(text, monkeypatch):
    monkeypatch.setenv("TEST_SEED", text)
    with pytest.raises(pytest.UsageError, match=f"TEST_SEED must be a number, or two like 1-20, got '{text}'"):
        seeds.numbers()


def test_seeds_are_as_they_stand_or_far_from_them(seed):
    assert seed(5) - 5 == 10**6 * seeds.numbers()[0]
    assert [seeds.Seeds(0)(3), seeds.Seeds(2)(3)] == [3, 2_000_003]


@pytest.mark.parametrize(("text", "mark", "asked"), [("1-3", True, [1, 2, 3]), ("1-3", False, []), ("7", True, [])])
def test_a_statistical_test_runs_once_for_each_of_several_seeds(text, mark, asked, monkeypatch):
    monkeypatch.setenv("TEST_SEED", text)
    found = {}
    definition = SimpleNamespace(get_closest_marker=lambda name: mark)
    seeds.parametrize(SimpleNamespace(definition=definition, parametrize=lambda *what, **ids: found.update(got=what)))
    assert [each.number for each in found.get("got", ("seed", []))[1]] == asked


def test_failures_are_counted_by_test(tmp_path):
    """Of three seeds each: none, one that fails and one that cannot be set up, all."""
    names = ["test_x[seed{}-1-2.5]", "test_y[a-seed{}]", "test_z[seed{}]"]
    wrong = {names[1].format(1): "<failure/>", names[1].format(3): "<error/>"}
    wrong |= {names[2].format(k): "<failure/>" for k in (1, 2, 3)}
    cases = [
        f'<testcase classname="tests.uddm.test_a" name="{name}"><properties><property name="alarm" value="1e-06"/>'
        f"</properties>{wrong.get(name, '')}</testcase>"
        for name in (pattern.format(k) for pattern in names for k in (1, 2, 3))
    ]
    (tmp_path / "results.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    rates, failures = seeds.read(tmp_path / "results.xml")
    where = "tests/uddm/test_a.py::"
    assert rates == dict.fromkeys([f"{where}test_x[1-2.5]", f"{where}test_y[a]", f"{where}test_z"], 1e-6)
    assert failures == {f"{where}test_y[a]": 2, f"{where}test_z": 3}


@pytest.mark.parametrize(
    ("failures", "well"),
    [
        ({}, True),
        ({"often": 1}, True),  # 18 % of the time
        ({"often": 1, "other 3": 1, "other 4": 1}, True),  # 1.2 expected
        ({"rare": 1}, False),  # 2e-6
        ({"often": 5}, False),  # 1e-6
        ({f"other {k}": 1 for k in range(8)}, False),  # all together
    ],
)
def test_false_alarms_are_judged_by_the_stated_rates(failures, well):
    rates = {"rare": 1e-7, "often": 0.01, **{f"other {k}": 1e-3 for k in range(50)}}
    lines, found = seeds.verdict(rates, Counter(failures), 20)
    assert found is well
    assert len(lines) == len(failures) + 1
    assert lines[-1].startswith(f"52 tests, 20 seeds: {sum(failures.values())} false alarms, 1.2 expected")
    assert ("TOO" in " ".join(lines)) is not well


def test_what_cannot_be_understood_ends_with_status_2(capsys):
    for wrong in ("0", "many", "--help"):
        assert seeds.main([wrong]) == 2
        assert "usage: python -m tests.seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mark", "fixtures", "problem"),
    [
        (pytest.mark.statistical(alarm=0.1), [], "takes no `seed`"),
        (pytest.mark.statistical, ["seed"], "states no `alarm` in"),
        (pytest.mark.statistical(alarm=1.5), ["seed"], "states no `alarm` in"),
        (pytest.mark.statistical(alarm=0.0), ["seed"], "states no `alarm` in"),
    ],
)
def test_a_statistical_test_takes_a_seed_and_states_its_rate(mark, fixtures, problem):
    item = SimpleNamespace(nodeid="test_it", fixturenames=fixtures, get_closest_marker=lambda name: mark.mark)
    with pytest.raises(pytest.UsageError, match=f"test_it {problem}"):
        seeds.alarm(item)


def test_other_tests_state_nothing(request):
    assert seeds.alarm(request.node) is None
