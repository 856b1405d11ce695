"""Several processes (gloo on the CPU, started by torchrun) do what one does."""

import json

import distributed_worker as worker
import forked
import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes leave behind, and one for comparison."""
    folder = tmp_path_factory.mktemp("distributed")
    said = folder / "said"
    launched = forked.torchrun(worker.__file__, folder, said=said, restarts=5)
    launched.join(300)
    launched.terminate()  # of what has not ended by now torchrun ends its workers
    assert launched.exitcode == 0, said.read_text()[-3000:]
    assert said.read_text().count("exitcode: -9") == 2
    worker.gradients(folder, "alone", micro_batch=8)
    worker.run(folder / "alone", "ddp")
    return folder


@pytest.fixture
def gradients(folder):
    return {path.stem: load_file(path) for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_gradients_are_those_of_one_process(gradients, parallel):
    """Of each parameter to within float32: sums over 8 x 5 tokens and, in each, some 128 roundings on the way back,
    within 2^-24 of terms of which a sum cancels some nine tenths."""
    rounding = 10 * (40 + 128) * 2.0**-24
    alone = gradients["alone-0"]
    for found in (gradients[f"{parallel}-0"], gradients[f"{parallel}-1"]):
        for name, wanted in alone.items():
            if not name.startswith("batch."):
                scale = wanted.abs().max().item()
                torch.testing.assert_close(found[name], wanted, rtol=0, atol=rounding * scale, msg=name)
    assert any(wanted.abs().max() > 0.1 for wanted in alone.values())


def test_processes_share_one_batch_and_differ_in_their_corruption(gradients):
    first, second, alone = (gradients[name] for name in ("ddp-0", "ddp-1", "alone-0"))
    for name in ("batch.x", "batch.z", "batch.t"):
        assert torch.equal(torch.cat([first[name], second[name]]), alone[name])
    changed = [g["batch.z"] != g["batch.x"] for g in (first, second)]
    assert not torch.equal(*changed)
    strata = torch.cat([first["batch.t"], second["batch.t"]]).sort().values
    edges = 1e-3 + (1 - 1e-3) * torch.arange(9) / 8
    assert bool(((strata >= edges[:-1]) & (strata <= edges[1:])).all())


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_goes_on_after_a_process_was_killed_and_ends_as_if_alone(folder, parallel):
    """torchrun starts all of them again, which go on from the state of step 6."""
    killed, whole = folder / f"{parallel}-killed", folder / f"{parallel}-whole"
    found = [load_file(killed / f"returned-{rank}.safetensors") for rank in (0, 1)]
    saved = load_file(killed / "model" / "model.safetensors")
    uninterrupted = load_file(whole / "model" / "model.safetensors")
    alone = load_file(folder / "alone" / "model" / "model.safetensors")
    for name, wanted in uninterrupted.items():
        assert all(torch.equal(other[name], wanted) for other in (*found, saved)), name
        torch.testing.assert_close(wanted, alone[name], atol=1e-3, rtol=1e-3)
    for run in (killed, whole):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [3, 6, 9, 12]
        assert not list(run.glob("*state*"))
