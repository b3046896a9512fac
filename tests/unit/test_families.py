"""Families: what is chosen by name is there, says what it is, and brings its own settings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from ffmpi import config, errors
from ffmpi.cli import app
from ffmpi.config import describe, registries
from ffmpi.config.aliases import ALIASES
from ffmpi.config.convert import bare
from ffmpi.config.fields import Member
from ffmpi.config.read import flat
from ffmpi.config.registry import Registry
from ffmpi.config.schema import Config
from ffmpi.errors import UserError
from ffmpi.network.learning_rates import LearningRate
from ffmpi.network.learning_rates.constant import Constant
from ffmpi.network.learning_rates.cosine import Cosine
from ffmpi.network.learning_rates.linear import Linear
from ffmpi.network.learning_rates.steps import Steps

REGISTRIES = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}
SETTINGS = describe.settings()
CHOICES = ", ".join(map(repr, registries.OPTIMIZERS))
MOVES = ", ".join(map(repr, registries.AUGMENTATIONS))
README = (Path(__file__).parents[2] / "README.md").read_text()


def parse(text: str = "", *settings: str) -> Config:
    return config.parse(text, "run.toml", list(settings))


def refused(text: str, *settings: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, *settings)
    return str(caught.value)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=list(REGISTRIES))
def test_members_are_found_by_their_names(registry: Registry) -> None:
    for name, member in registry.members().items():
        assert (member if registry.thing else member()).name == name
        assert registry.thing or (issubclass(member, Member) and describe.summary(member).endswith(".")), name
        assert registry[name] is member and name in registry
    wrong = registry.names[0][:-1]
    with pytest.raises(UserError, match=f"{registry.kind} '{wrong}', expected one of .*did you mean"):
        registry[wrong]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: f"{one.key} {one.member}".strip())
def test_every_setting_is_described(setting: describe.Setting) -> None:
    assert setting.description.endswith("."), setting
    if bare(setting.type) is int and setting.key != "seed":
        assert setting.unit, "a count of what?"
    described = setting.as_json()
    assert described["expected"] and json.dumps(described)
    if described["choices"] and setting.default:
        assert setting.default in described["choices"]


def test_settings_are_complete() -> None:
    """What a configuration has, and nothing else, is described."""
    described = {one.key for one in SETTINGS}
    assert set(flat(msgspec.to_builtins(parse()))) <= described
    for key, family in describe.families().items():
        for name, member in family.registry.members().items():
            assert {f"{key}.{field}" for field in member.__struct_fields__} <= described, name


def test_settings_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    app(["info", "--settings"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "[head.optimizer]\n" in text and "  momentum = 0.9  # a number at least 0" in text
    assert "local-softmax: Cross-entropy" in text
    app(["info", "optimizer", "--settings", "--json"], standalone_mode=False)
    found = {(one["key"], one["member"]): one for one in json.loads(capsys.readouterr().out)}
    assert all(key.startswith("optimizer.") for key, _ in found)
    assert found["optimizer.learning_rate", "sgd"]["default"] == 0.01
    assert found["optimizer.name", ""]["choices"] == list(registries.OPTIMIZERS.names)
    with pytest.raises(UserError, match=r"optimiser: expected a table, .*did you mean 'optimizer'"):
        app(["info", "optimiser", "--settings"], standalone_mode=False)


@pytest.mark.parametrize("name", REGISTRIES)
def test_the_readme_names_every_member(name: str) -> None:
    missing = [member for member in REGISTRIES[name].names if f"`{member}`" not in README]
    assert not missing, f"README.md does not name {', '.join(missing)}"


# -- Earlier names ----------------------------------------------------------------------------------------------------
def test_aliases_lead_to_settings() -> None:
    described = {one.key for one in SETTINGS}
    assert set(ALIASES.values()) <= described and not set(ALIASES) & described


@pytest.mark.parametrize(("earlier", "now"), ALIASES.items())
def test_earlier_names_are_read(earlier: str, now: str) -> None:
    kinds = {one.key: one for one in SETTINGS}
    value = {"negatives.name": "'fixed'", "negatives.resample": "'batch'"}.get(now, "1")
    if now == "shards.test_path":
        value = "'there'"
        assert refused("", f"{earlier}={value}") == refused("", f"{now}={value}").replace(now, earlier, 1)
        return
    if kinds[now].member == "adam":
        more = [now.replace("epsilon", "name") + "=adam"]
    else:
        more = []
    assert (
        parse(f"{earlier} = {value}", *more)
        == parse("", f"{now}={value}", *more)
        == parse("", f"{earlier}={value}", *more)
    )
    assert parse("", f"{earlier}={value}", *more) != parse("", *more)
    assert f"run.toml: {earlier} is an earlier name of {now}; expected one of the two" in refused(
        f"{earlier} = {value}\n{now} = {value}"
    )
    # The one on the command line wins over the file's, whichever name they have.
    assert parse(f"{now} = {value}", f"{earlier}={value}", *more) == parse("", f"{now}={value}", *more)


def test_a_complete_configuration_of_earlier_versions() -> None:
    """As ffmpi 0.2 left it in a run directory: every setting of every member, some of which nobody reads."""
    text = (Path(__file__).parents[1] / "data" / "config-before-families.toml").read_text()
    found = parse(text)
    assert found.rule.name == "local-softmax"
    assert (found.network.normalise.name, found.network.normalise.epsilon) == ("l2", 1e-4)
    assert (found.optimizer.name, found.optimizer.learning_rate, found.optimizer.weight_decay) == ("adam", 0.01, 0.0)
    assert (found.optimizer.beta1, found.optimizer.epsilon) == (0.9, 1e-8)
    assert (found.head.optimizer.name, found.head.optimizer.learning_rate) == ("sgd", 0.1)
    assert (found.learning_rate.name, found.learning_rate.constant, found.learning_rate.warmup) == ("linear", 0.25, 0)
    assert (found.negatives.name, found.negatives.resample) == ("random", "batch")
    assert (found.schedule.name, found.schedule.exchange, found.train.batch_size) == ("single-layer", "weights", 64)


def test_nobody_is_told_what_an_earlier_version_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    config.read(str(Path(__file__).parents[1] / "data" / "config-before-families.toml"), tell=True)
    assert capsys.readouterr().err == ""


# -- Choosing a member ------------------------------------------------------------------------------------------------
def test_a_name_alone_stands_for_its_table() -> None:
    assert parse("optimizer = 'adam'") == parse("", "optimizer=adam") == parse("", "optimizer.name=adam")
    assert parse("network.normalise = 'l2'\nnetwork.eps = 0.1").network.normalise.epsilon == 0.1
    assert parse("[optimizer]\nlearning_rate = 3", "optimizer=adam").optimizer.learning_rate == 3
    assert f"optimizer.name = 'adm': expected one of {CHOICES}; did you mean 'adam'?" in refused("optimizer='adm'")
    assert "learning_rate = 0.1: expected a table [learning_rate], or one of 'linear', 'con" in refused(
        "learning_rate=0.1"
    )


def test_a_preset_s_values_that_the_chosen_member_has_not_vanish(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    file = tmp_path / "run.toml"
    file.write_text("preset = 'paper'\n[rule]\nname = 'local-softmax'\n[optimizer]\nname = 'sgd'\nbeta1 = 0.5\n")
    found = config.read(str(file), tell=True)
    assert not hasattr(found.rule, "threshold") and not hasattr(found.optimizer, "beta1")
    assert capsys.readouterr().err == (
        "ffmpi: warning: optimizer.beta1 = 0.5: no effect, since optimizer.name = 'sgd'\n"
    )
    # Where two members have the same default, a preset's value is for both; else it is its own member's.
    assert parse("preset = 'paper'", "network.normalise=rms").network.normalise.epsilon == 1e-4
    assert parse("preset = 'paper'", "optimizer=sgd").optimizer.learning_rate == 0.01
    assert parse("preset = 'paper'", "optimizer=sgd").optimizer.weight_decay == 0.001


def test_values_of_other_members_are_looked_at() -> None:
    assert "optimizer.beta1 = 'x': expected a number" in refused("", "optimizer.beta1='x'")
    assert "learning_rate.gamma = 0: expected a number more than 0" in refused("", "learning_rate.gamma=0")


def test_keys_that_no_member_has_are_refused() -> None:
    assert "unknown key 'optimizer.beta3'; did you mean 'beta2'?; table [optimizer] has name, learning_rate" in refused(
        "", "optimizer.beta3=1"
    )


def test_lists_of_members() -> None:
    both = parse("[[augment]]\nname = 'shift'\npixels = 3\n[[augment]]\nname = 'flip'")
    assert [one.name for one in both.augment] == ["shift", "flip"] and both.augment[0].pixels == 3
    assert parse("", "augment=[{name='shift', pixels=3}, 'flip']") == both
    assert parse("", "augment=flip").augment == both.augment[1:] and parse(config.dump(both)) == both
    assert parse(config.dump(both), "augment=[]") == parse()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", "augment = 3: expected a list of tables [[augment]], or of names"),
        ("[3]", "augment = [3]: expected a list of tables"),
        ("['flop']", f"augment[0].name = 'flop': expected one of {MOVES}; did you mean 'flip'?"),
        ("[{pixels = 3}]", "augment[0].name = None: expected one of 'shift'"),
        (
            "['flip', {name = 'shift', pixel = 3}]",
            "unknown key 'augment[1].pixel'; did you mean 'pixels'?; 'shift' has",
        ),
        ("[{name = 'shift', pixels = 0}]", "augment[0].pixels = 0: expected a whole number at least 1"),
        ("[{name = 'flip', probability = nan}]", "augment[0].probability = nan: expected a number"),
    ],
)
def test_mistakes_in_lists_of_members(value: str, expected: str) -> None:
    assert refused("", f"augment={value}").startswith(f"--set augment={value}: {expected}")
    assert refused(f"augment = {value}").startswith(f"run.toml: {expected}")


# -- Learning rates, as PyTorch's schedulers say ----------------------------------------------------------------------
def rates(schedule: LearningRate, epochs: int) -> list[float]:
    return [schedule.factor(epoch, epochs) for epoch in range(epochs)]


def test_learning_rates() -> None:
    assert rates(Constant(), 3) == [1, 1, 1]
    assert rates(Linear(constant=0.5), 4) == [1, 1, 1, 0.5]
    assert rates(Linear(constant=0.0), 4) == [1, 0.75, 0.5, 0.25]
    # MultiStepLR(milestones=[2, 3], gamma=0.1)
    assert rates(Steps(milestones=(2, 3)), 5) == pytest.approx([1, 1, 0.1, 0.01, 0.01], rel=1e-15)
    # CosineAnnealingLR(T_max=E, eta_min=m lr): lr_(t+1) = m + (lr_t - m) (1 + cos(pi (t+1)/E)) / (1 + cos(pi t/E))
    epochs, least = 7, 0.2
    chained = [1.0]
    for t in range(epochs - 1):
        ratio = (1 + math.cos(math.pi * (t + 1) / epochs)) / (1 + math.cos(math.pi * t / epochs))
        chained.append(least + (chained[-1] - least) * ratio)
    assert rates(Cosine(minimum=least), epochs) == pytest.approx(chained, rel=1e-12)


@pytest.mark.parametrize("name", registries.LEARNING_RATES.names)
def test_warm_up(name: str) -> None:
    """LinearLR(start_factor=1/(w+1), total_iters=w): factor + (1 - factor) t/w, times what the schedule says."""
    more = {"milestones": (2, 5)} if name == "steps" else {}
    member = registries.LEARNING_RATES[name]
    plain, warm, w = member(**more), member(warmup=4, **more), 4
    ramp = [1 / (w + 1) + (1 - 1 / (w + 1)) * min(t, w) / w for t in range(9)]
    assert rates(warm, 9) == pytest.approx([a * b for a, b in zip(rates(plain, 9), ramp, strict=True)], rel=1e-15)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["learning_rate=steps"], "learning_rate.milestones = []: expected one epoch or more, ascending, below train."),
        (["learning_rate=steps", "learning_rate.milestones=[3,3]"], "learning_rate.milestones = [3, 3]: expected one"),
        (["learning_rate=steps", "learning_rate.milestones=[9]", "train.epochs=9"], "below train.epochs = 9"),
        (["learning_rate.warmup=10", "train.epochs=9"], "learning_rate.warmup = 10: expected at most train.epochs = 9"),
    ],
)
def test_learning_rates_that_do_not_go_with_the_epochs(settings: list[str], expected: str) -> None:
    assert expected in refused("", *settings)
