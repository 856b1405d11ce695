"""Configurations: read where there are any, compared with the tensors, asked for where both are silent."""

import pytest
import torch
from published_files import AVERAGE, HUB, RAW, ROTARY, SETTINGS, L, hub_folder, same, save, state

from uddm import DiT, DiTConfig
from uddm.importers import convert, import_published, inspect_published


def test_tokenizer_is_inferred_from_the_vocabulary(tmp_path):
    config = DiTConfig(30522, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)
    shape = {"vocab_size": 30522, "model_length": 4, "hidden_dim": 8, "n_blocks": 1, "cond_dim": 4}
    report = inspect_published(hub_folder(tmp_path / "hub", HUB | shape, state(DiT(config))))
    assert report.training["tokenizer"] == "bert-base-uncased"


@pytest.mark.parametrize(
    "hyper", [None, {}, {"config": None}, {"config": 3}, {"config": {"model": "${model}"}}, "missing"]
)
def test_without_a_configuration(tmp_path, hyper):
    path = save(tmp_path / "a.ckpt", hyper_parameters=hyper)
    with pytest.raises(ValueError, match=r"a\.ckpt does not say `length`: pass it"):
        import_published(path)
    assert same(import_published(path, length=L), AVERAGE)
    report = inspect_published(path)
    assert report.config["length"] is None
    assert "L = ?" in str(report)
    assert any("no readable configuration" in note for note in report.notes)
    assert any("heads" in note for note in report.notes)


def test_configuration_that_is_the_hyper_parameters(tmp_path):
    path = save(tmp_path / "a.ckpt", hyper_parameters=SETTINGS)
    assert inspect_published(path).settings == SETTINGS


def test_namespaces_are_read(tmp_path):
    import argparse

    path = save(tmp_path / "a.ckpt", hyper_parameters={"config": argparse.Namespace(**SETTINGS)})
    assert same(import_published(path), AVERAGE)


def without_rotary(model):
    return {name: tensor for name, tensor in state(model).items() if not name.endswith(ROTARY)}


def test_heads_are_asked_for(tmp_path):
    path = save(tmp_path / "a.ckpt", state_dict=without_rotary(RAW), hyper_parameters={})
    with pytest.raises(ValueError, match=r"a\.ckpt does not say `heads`: pass it"):
        import_published(path, length=L)
    assert same(import_published(path, heads=2, length=L), AVERAGE)
    assert not same(import_published(path, heads=4, length=L), AVERAGE)
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "n_heads": 4}}
    path = save(tmp_path / "b.ckpt", state_dict=without_rotary(RAW), hyper_parameters={"config": settings})
    assert import_published(path).config.heads == 4


def test_the_caller_has_the_last_word(ckpt):
    model = import_published(ckpt, length=20, schedule="linear", dropout=0.0)
    assert (model.config.length, model.config.schedule, model.config.dropout) == (20, "linear", 0.0)
    assert same(model, AVERAGE)


def changed(settings, path, value):
    if not path:
        return value
    return {**settings, path[0]: changed(settings.get(path[0], {}), path[1:], value)}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.hidden_size", 32, "the configuration says hidden_dim = 32, the tensors say 16"),
        ("model.n_blocks", 3, "blocks = 3, the tensors say 2"),
        ("model.cond_dim", 129, "cond_dim = 129, the tensors say 8"),
        ("model.n_heads", 4, "heads = 4, the tensors say 2"),
        ("model.length", 1.5, "`length` must be an integer"),
        ("model.dropout", 2.0, "`dropout` must lie in"),
        ("noise.type", "geometric", "noise.type = 'geometric' is unknown; pass `schedule`"),
        ("noise.eps", 0.01, "noise.eps = 0.01"),
        ("noise", {"type": "cosine", "eps": 0}, "noise.eps = 0, but our cosine schedule has 1e-3"),
        ("algo.name", "mdlm", r"parameterization 'mean' \(known: subs\)"),
        ("algo.name", "sedd", "not of a diffusion model that is read: algorithm 'sedd'"),
        ("algo.name", "d3pm-absorb", "algorithm 'd3pm-absorb'"),
        ("algo.parameterization", "subs", "parameterization 'subs'"),
        ("algo.causal_attention", True, "causal True"),
        ("diffusion", "absorbing_state", "diffusion 'absorbing_state'"),
        *(("algo.name", name, f"algorithm '{name}'") for name in ("audm", "max_coupling", "xdlm", "hyperbolic_duo")),
        ("algo.model_prediction", "noise", r"model_prediction 'noise' \(known: mean, mean_loo\)"),
        ("algo.time_conditioning", "sometimes", "time_conditioning 'sometimes'"),
    ],
)
def test_configuration_that_contradicts(tmp_path, path, value, message):
    settings = changed(SETTINGS, path.split("."), value)
    file = save(tmp_path / "a.ckpt", hyper_parameters={"config": settings})
    with pytest.raises(ValueError, match=message) as error:
        import_published(file)
    assert str(file) in str(error.value)
    with pytest.raises(ValueError, match=message):
        inspect_published(file)


@pytest.mark.parametrize("layout", ["lightning", "hub"])
def test_networks_that_are_not_told_the_noise_level(tmp_path, layout):
    """They are told sigma = 0 whatever the time, also after they were stored."""
    if layout == "hub":
        source = hub_folder(tmp_path / "hub", time_conditioning=False)
    else:
        settings = changed(changed(SETTINGS, ["algo", "time_conditioning"], False), ["algo", "name"], "udlm")
        source = save(tmp_path / "a.ckpt", hyper_parameters={"config": settings})
    report = convert(source, tmp_path / "out")
    assert "told no noise level" in str(report)
    z = torch.arange(L)[None] % 7
    with torch.no_grad():
        expected = AVERAGE(z, torch.zeros(1))
        for model in (import_published(source), DiT.from_pretrained(tmp_path / "out")):
            assert model.config.time_conditioning is False
            assert same(model, AVERAGE)
            assert torch.equal(model(z, torch.ones(1)), expected)
            assert torch.equal(model.cavity(z, 0.1), model.cavity(z, 0.9))
        assert not torch.equal(AVERAGE(z, torch.ones(1)), expected), "the others are told"


@pytest.mark.parametrize(("said", "predicts"), [("mean", "posterior"), ("mean_loo", "cavity"), (None, "cavity")])
def test_what_the_logits_are_those_of(tmp_path, said, predicts):
    settings = changed(SETTINGS, ["algo"], {**SETTINGS["algo"], "name": "udlm"})
    del settings["algo"]["parameterization"]
    if said:
        settings["algo"]["model_prediction"] = said
    path = save(tmp_path / "a.ckpt", hyper_parameters={"config": settings})
    assert import_published(path).config.predicts == predicts
    convert(path, tmp_path / "out")
    assert DiT.from_pretrained(tmp_path / "out").config.predicts == predicts


@pytest.mark.parametrize(
    ("name", "algorithm", "distilled"),
    [
        ("a.ckpt", "duo_base", False),
        ("a.ckpt", "DUO", False),
        ("a.ckpt", "udlm", False),
        ("a.ckpt", "distillation", True),
        ("a.ckpt", "idlm-dcd", True),
        ("duo-distilled/a.ckpt", "duo", True),
        ("idlm-duo.ckpt", "duo", True),
        ("distilled/models/a.ckpt", "duo", False),
    ],
)
def test_students_are_told_apart(tmp_path, name, algorithm, distilled):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, hyper_parameters={"config": changed(SETTINGS, ["algo", "name"], algorithm)})
    report = inspect_published(path)
    assert report.distilled is distilled
    assert ("entropies tell nothing" in str(report)) is distilled
    assert import_published(path).origin["distilled"] is distilled
    assert inspect_published(path, distilled=not distilled).distilled is not distilled, "the caller has the last word"


@pytest.mark.parametrize(
    ("noise", "schedule", "eps"),
    [
        ("loglinear", "log-linear", 1e-3),
        ("log-linear", "log-linear", 0),
        ("cosine", "cosine", 1e-3),
    ],
)
def test_noise_schedules(tmp_path, noise, schedule, eps):
    settings = {**SETTINGS, "noise": {"type": noise, "eps": eps}}
    report = inspect_published(save(tmp_path / "a.ckpt", hyper_parameters={"config": settings}))
    assert report.config["schedule"] == schedule
    assert bool(report.notes) == (eps == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 12}, "vocab_size = 12, the tensors say 11"),
        ({"hidden_dim": 768}, "hidden_dim = 768"),
        ({"cond_dim": 129}, "cond_dim = 129, the tensors say 8"),
        ({"model_type": "mdlm", "causal": True}, "causal True"),
        ({"model_type": "xdlm"}, r"algorithm 'xdlm' \(known: duo, duo_base, udlm, "),
        ({"causal": True}, "causal True"),
        ({"model": "DiT", "format": 1}, "DiT.from_pretrained reads it"),
    ],
)
def test_hub_configuration_that_contradicts(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        import_published(hub_folder(tmp_path / "hub", **change))


def test_a_configuration_that_grows_without_bound(tmp_path):
    """Thirty levels, each naming the next one ten times."""
    bomb = ["ha"]
    for _ in range(30):
        bomb = [bomb] * 10
    path = save(tmp_path / "a.ckpt", hyper_parameters={"config": {**SETTINGS, "bomb": bomb}})
    assert same(import_published(path, length=L), AVERAGE)
    assert inspect_published(path).settings == {}
