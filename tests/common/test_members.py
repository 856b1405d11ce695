"""Who takes part: what is found, what is not, and what is said of one that cannot be built."""

from types import SimpleNamespace
from unittest import mock

import members
import pytest

from amtheory import Hopfield, Memory
from uddm import Denoiser
from uddm.process import Process


def test_all_classes_are_found_but_for_bases_and_those_of_tests():
    class OfATest(Hopfield):
        """Not to be found."""

    found = members.subclasses(Memory)
    assert {"Couplings", "DenseMemory", "DiffusionMemory", "Hopfield", "PseudoInverse"} <= found.keys()
    assert found["Hopfield"] is Hopfield
    assert not {"OfATest", "Memory", "PairwiseMemory"} & found.keys()
    assert {"UniformProcess"} <= members.subclasses(Process).keys()
    assert {"token_recovery", "conditional_entropy"} <= members.measurements().keys()
    assert {"uddm train", "bridges identities", "paper_figures run"} <= members.commands().keys()


def test_what_cannot_be_built_says_where_to_add_a_row():
    with pytest.raises(TypeError, match="at least 1") as raised:
        members.built("MEMORIES", "Toy", lambda: range())
    (note,) = raised.value.__notes__
    assert note == "A Toy is not built by default: add it to MEMORIES in tests/common/members.py, or its module."


def test_rows_may_stand_in_a_module_of_ones_own():
    own = SimpleNamespace(MEMORIES={"Toy": Hopfield}, ARGUMENTS={"depth": 3})
    with mock.patch.dict(members.MEMORIES), mock.patch.dict(members.ARGUMENTS):
        members.take_rows(own)
        assert members.MEMORIES["Toy"] is own.MEMORIES["Toy"]
        assert members.ARGUMENTS == {"noise": 0.5, "depth": 3}


@pytest.mark.parametrize(
    ("rows", "base"), [(members.MEMORIES, Memory), (members.SHAPES, Denoiser), (members.EXACT, Denoiser)]
)
def test_no_row_is_left_of_what_there_is_no_more(rows, base):
    assert {name.partition("-")[0] for name in rows} <= members.subclasses(base).keys()
