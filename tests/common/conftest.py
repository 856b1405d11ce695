"""A test that asks for a member by the name of its kind runs once for each there is."""

import sys

import members

KINDS = {
    "make_memory": lambda config: members.memories(),
    "make_learner": lambda config: members.learners(),
    "network_class": lambda config: members.networks(),
    "make_denoiser": lambda config: members.denoisers(),
    "process": lambda config: members.processes(),
    "make_system": lambda config: members.systems(),
    "measurement": lambda config: members.measurements(plugged_in(config)),
    "figure": lambda config: members.figures(plugged_in(config)),
    "command": lambda config: members.commands(),
}


def plugged_in(config):
    """The modules that pytest was given by ``-p``."""
    return tuple(sys.modules[name] for name in config.getoption("plugins") if name in sys.modules)


def pytest_configure(config):
    for module in plugged_in(config):
        members.take_rows(module)


def pytest_generate_tests(metafunc):
    for kind in KINDS.keys() & set(metafunc.fixturenames):
        found = KINDS[kind](metafunc.config)
        metafunc.parametrize(kind, list(found.values()), ids=list(found))
