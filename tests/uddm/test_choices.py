"""Each word that can be chosen is understood where it is, and naming them loads nothing."""

import subprocess
import sys

import pytest

from uddm import choices, objective
from uddm.process.schedule import get_schedule


def test_words_are_those_that_are_understood():
    assert tuple(objective.LOSSES) == choices.LOSSES
    schedules = [get_schedule(name, 3) for name in choices.SCHEDULES]
    assert len({type(schedule) for schedule in schedules}) == len(schedules) == 4
    with pytest.raises(ValueError, match=", ".join(map(repr, choices.SCHEDULES))):
        get_schedule("cubic", 3)


def test_words_are_light(repository):
    code = "import sys, uddm.choices; print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "set()"
