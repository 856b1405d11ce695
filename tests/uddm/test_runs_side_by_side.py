"""Two processes and one run folder; signals of schedulers; variables of schedulers."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import forked
import interruptible_training
import pytest
import torch
from safetensors.torch import load_file

import uddm.training.loop as loop
from uddm import HollowMLP, HollowMLPConfig, TrainConfig, train
from uddm.command_line import run_commands
from uddm.files import locked, read_json
from uddm.training.distributed import process_group

SHAPE = HollowMLPConfig(6, length=5, hidden_dim=8, blocks=1, embed_dim=4, cond_dim=8)
DATA = torch.randint(6, (40, 5), generator=torch.Generator().manual_seed(0))


def make():
    torch.manual_seed(0)
    return HollowMLP(SHAPE)


def config(**changes):
    return TrainConfig(**{"steps": 6, "batch_size": 4, "warmup": 1, "log_every": 2, **changes})


def claim(folder, seed):
    loop.claim(folder, SHAPE, config(seed=seed), {"sequences": 40, "sha256": "x"})


def test_a_folder_is_claimed_by_one_of_two_that_come_at_once(tmp_path, monkeypatch):
    """The other one comes when the first has seen that there is nothing and has not written yet."""
    write = loop.write_atomically

    def slow(*arguments, **options):
        monkeypatch.setattr(loop, "write_atomically", write)
        claim(tmp_path / "run", 2)
        write(*arguments, **options)

    monkeypatch.setattr(loop, "write_atomically", slow)
    with pytest.raises(ValueError, match=r"holds another run: its training\.seed is 2, not 1"):
        claim(tmp_path / "run", 1)
    assert read_json(tmp_path / "run" / "config.json")["training"]["seed"] == 2


def test_many_claims_at_once_have_one_winner(tmp_path):
    for trial in range(20):
        folder, gate, refused = tmp_path / str(trial), threading.Barrier(4), []

        def contend(seed, folder=folder, gate=gate, refused=refused):
            gate.wait()
            try:
                claim(folder, seed)
            except ValueError:
                refused.append(seed)

        contenders = [threading.Thread(target=contend, args=(seed,)) for seed in range(4)]
        for contender in contenders:
            contender.start()
        for contender in contenders:
            contender.join()
        winner = read_json(folder / "config.json")["training"]["seed"]
        assert sorted([*refused, winner]) == [0, 1, 2, 3]


def test_exclusive_files_where_the_system_has_no_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    claim(tmp_path / "run", 1)
    with pytest.raises(ValueError, match="holds another run"):
        claim(tmp_path / "run", 2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json"]


def test_the_same_run_twice_at_once_is_waited_for(tmp_path, capfd):
    """The second one says what it waits for, and then finds the model that the first one made."""
    claimed = train(make(), DATA, config(), tmp_path / "done", progress=None)
    results = []
    with locked(tmp_path / ".lock", "trains"):
        waiting = threading.Thread(
            target=lambda: results.append(train(make(), DATA, config(), tmp_path, progress=None)), daemon=True
        )
        waiting.start()
        deadline = time.monotonic() + 30
        while "waiting for another process that trains in" not in (said := capfd.readouterr().err):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        claimed.save_pretrained(tmp_path / "model")
        before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    waiting.join(30)
    assert results
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_no_locks_no_matter(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    train(make(), DATA, config(), tmp_path, progress=None)
    assert (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize("number", [22, 95, 9, 13])
def test_no_sync_of_folders_no_matter(tmp_path, monkeypatch, number):
    """Files themselves are synced; VirtualBox, old CIFS and others do not know it of a folder."""
    sync = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", files_only)
    train(make(), DATA, config(), tmp_path, progress=None)
    assert (tmp_path / "model" / "config.json").exists()


def test_signals_save_and_the_run_goes_on_as_if_nothing_had_been(tmp_path):
    folder, steps, said = tmp_path / "ended", 300, tmp_path / "said"
    ended = forked.start(interruptible_training.main, "run", steps, folder, said=said)
    wait_for_lines(ended, folder / "metrics.jsonl", 3, said)
    os.kill(ended.pid, signal.SIGTERM)
    ended.join(60)
    assert ended.exitcode == 128 + signal.SIGTERM, said.read_text()
    assert "run the same command again to go on" in said.read_text()
    reached = int(load_file(folder / "state.safetensors")["step"])
    assert 30 <= reached < steps
    from_there = train(make(), DATA, config(steps=steps, log_every=10, checkpoint_every=10**6), folder, progress=None)
    whole = train(
        make(), DATA, config(steps=steps, log_every=10, checkpoint_every=10**6), tmp_path / "whole", progress=None
    )
    for one, other in zip(from_there.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_other_signals_save_as_well(tmp_path, monkeypatch, capsys, name):
    number, taken, backward = getattr(signal, name), [], loop._backward

    def signalled(*arguments):
        taken.append(0)
        if len(taken) == 35:
            signal.raise_signal(number)
        return backward(*arguments)

    def run() -> None:
        train(make(), DATA, config(steps=300, checkpoint_every=10**6), tmp_path, progress=None)

    monkeypatch.setattr(loop, "_backward", signalled)
    monkeypatch.setattr(sys, "argv", ["script", "run"])
    with pytest.raises(SystemExit) as ended:
        run_commands({"run": run, "none": run}, prog="script", description=None)
    assert ended.value.code == 128 + number
    assert "run the same command again to go on" in capsys.readouterr().err
    saved = int(load_file(tmp_path / "state.safetensors")["step"])
    assert saved == len(taken) - 1 == 34, "all but the step that it came in"


def test_one_signal_ends_two_processes_at_the_same_step(tmp_path):
    folder, said = tmp_path / "run", tmp_path / "said"
    agent = forked.torchrun(interruptible_training.__file__, "run", 100_000, folder, said=said)
    wait_for_lines(agent, folder / "metrics.jsonl", 3, said)
    workers = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGTERM)
    agent.join(120)
    assert agent.exitcode == 1, "a worker that ends with a signal's status has failed"
    assert int(load_file(folder / "state.safetensors")["step"]) >= 30
    assert not (folder / "model").exists()


def wait_for_lines(process, log, lines, said):
    deadline = time.monotonic() + 120
    while not log.exists() or log.read_text().count("\n") < lines:
        assert process.exitcode is None, said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_signal_does_not_wait():
    from uddm.training.signals import deferred

    came = []
    with pytest.raises(KeyboardInterrupt), deferred() as pending:  # noqa: PT012 (where it is raised matters)
        signal.raise_signal(signal.SIGINT)
        came.append(pending.number)
        signal.raise_signal(signal.SIGINT)
        came.append(0)
    assert came == [signal.SIGINT]


def test_signals_are_left_alone_outside_of_the_main_thread():
    from uddm.training.signals import deferred

    found = []

    def inside():
        with deferred():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_the_variables_of_a_scheduler_alone_are_no_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with process_group("cpu") as device:
        assert device == torch.device("cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"WORLD_SIZE = 2 is set, but RANK, .* is not"), process_group("cpu"):
        pass
