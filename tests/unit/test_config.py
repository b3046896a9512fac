"""The configuration: every mistake is one sentence with key, value, what is allowed and the nearest name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ffmpi import config
from ffmpi.config import describe
from ffmpi.config.presets import PRESETS
from ffmpi.config.registries import OPTIMIZERS
from ffmpi.config.schema import Config, Data
from ffmpi.errors import UserError
from ffmpi.network.normalisations.l2 import L2
from ffmpi.network.optimisers.adam import Adam
from ffmpi.rules.goodness import Goodness

CHOICES = ", ".join(map(repr, OPTIMIZERS))


def parse(text: str = "", *settings: str) -> Config:
    return config.parse(text, "run.toml", list(settings))


def sentence(call: Callable[[], object]) -> str:
    """Return the text of the UserError that `call` must raise: one line without a full stop."""
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and not text.endswith("."), text
    return text


def test_defaults() -> None:
    assert parse("data.standardise = 'auto'") == parse() == parse("", "data.standardise=fixed")
    assert msgspec.structs.replace(parse(), data=Data()) == Config()
    assert Config().chapters == Config().train.epochs
    assert parse("[train]\nepochs = 6\nchapters = 3").chapters == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # unknown keys
        (
            "[trian]\nepochs = 3",
            "unknown key 'trian'; did you mean 'train'?; the configuration has preset, seed, data,",
        ),
        ("sed = 1", "unknown key 'sed'; did you mean 'seed'?"),
        (
            "[train]\nepoch = 3",
            "unknown key 'train.epoch'; did you mean 'epochs'?; table [train] has epochs, chapters,",
        ),
        (
            "[head.optimizer]\nbeta = 3",
            "unknown key 'head.optimizer.beta'; did you mean 'beta2'?; table [head.optimizer]",
        ),
        ("qqqq = 3", "unknown key 'qqqq'; the configuration has"),
        # tables
        ("train = 3", "train = 3: expected a table [train]"),
        ("[head]\noptimizer = 3", "head.optimizer = 3: expected a table [head.optimizer]"),
        ("[[train]]\nepochs = 3", "train = [{'epochs': 3}]: expected a table [train]"),
        # types
        ("seed = 'x'", "seed = 'x': expected a whole number at least 0 and at most 9223372036854775807"),
        ("seed = 1979-05-27", "seed = datetime.date(1979, 5, 27): expected a whole number"),
        ("[train]\nepochs = 3.0", "train.epochs = 3.0: expected a whole number at least 1"),
        ("[train]\nepochs = true", "train.epochs = True: expected a whole number at least 1"),
        ("[train]\nshuffle = 1", "train.shuffle = 1: expected true or false"),
        ("[data]\npath = 3", "data.path = 3: expected a string"),
        ("[data]\nmean = '0'", "data.mean = '0': expected a number"),
        (
            "[network]\nlayers = 3",
            "network.layers = 3: expected a list of 1 to 1024 entries, each a whole number at least 1",
        ),
        (
            "[network]\nlayers = [3, 'x']",
            "network.layers = [3, 'x']: expected a list of 1 to 1024 entries, each a whole number at least 1",
        ),
        # limits
        ("seed = -1", "seed = -1: expected a whole number at least 0"),
        ("seed = 1" + 5000 * "0", "not valid TOML"),
        ("seed = 0x1" + 5000 * "0", "seed = a number of thousands of digits: expected a whole number"),
        ("seed = 9223372036854775808", "seed = 9223372036854775808: expected a whole number"),
        ("[train]\nepochs = 0", "train.epochs = 0: expected a whole number at least 1"),
        ("[train]\nconstant = 1.5", "learning_rate.constant = 1.5: expected a number at least 0 and at most 1"),
        ("[optimizer]\nmomentum = 1.0", "optimizer.momentum = 1.0: expected a number at least 0 and less than 1"),
        ("[head.optimizer]\nrate = 0", "head.optimizer.learning_rate = 0: expected a number more than 0"),
        (
            "[network]\nlayers = []",
            "network.layers = []: expected a list of 1 to 1024 entries, each a whole number at least 1",
        ),
        (
            "[network]\nlayers = [5, 0]",
            "network.layers = [5, 0]: expected a list of 1 to 1024 entries, each a whole number at least 1",
        ),
        # names
        ("[optimizer]\nname = 'adm'", f"optimizer.name = 'adm': expected one of {CHOICES}; did you mean 'adam'?"),
        ("[optimizer]\nname = 3", f"optimizer.name = 3: expected one of {CHOICES}"),
        (
            "preset = 'papr'",
            "preset = 'papr': expected one of '', 'hinton', 'paper', 'dff', 'mono-forward'; did you mean 'paper'?",
        ),
        ("preset = []", "preset = []: expected one of '', 'hinton', 'paper', 'dff', 'mono-forward'"),
        (
            "[classify]\nmethods = ['goodness', 'softmx']",
            "classify.methods = ['goodness', 'softmx']: expected each method once, for rule.name = 'goodness' of "
            "softmax, goodness; did you mean 'softmax'?",
        ),
        # sense
        ("[classify]\nmethods = ['softmax', 'softmax']", "['softmax', 'softmax']: expected each method once"),
        ("[classify]\ngoodness_layers = [2, 2]", "[2, 2]: expected each layer once, of 1 to 3 as in network.layers"),
        ("[classify]\ngoodness_layers = [4]", "[4]: expected each layer once, of 1 to 3 as in network.layers"),
        ("[classify]\ngoodness_layers = [0]", "goodness_layers = [0]: expected a list, each entry a whole number at"),
        (
            "[rule]\nname = 'local-softmax'\n[classify]\nmethods = ['goodness']",
            "classify.methods = ['goodness']: expected each method once, for rule.name = 'local-softmax' of "
            "last-layer, all-layers",
        ),
        (
            "[rule]\nname = 'local-softmax'\n[negatives]\nkind = 'adaptive'",
            "negatives.name = 'adaptive': rule.name = 'local-softmax' has no negatives",
        ),
        (
            "[rule]\nname = 'local-softmax'\n[head]\nstep = 'epoch'",
            "head.step = 'epoch': with rule.name = 'local-softmax' classifiers learn together with their layers; "
            "expected 'batch'",
        ),
        (
            "[classify]\nmethods = ['goodness']\n[negatives]\nkind = 'adaptive'",
            "negatives.scores = 'softmax': there is no head; expected 'goodness', or 'softmax' among classify.methods",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\ncount = 2\n[negatives]\nkind = 'adaptive'",
            "negatives.name = 'adaptive' with shards.count = 2: the choices would have to leave their rank",
        ),
        (
            "[shards]\nheld_out = 'there'",
            "shards.test_path = 'there': expected shards.by = 'file'",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\nby = 'file'",
            "shards.by = 'file': expected {shard} in data.path = '', the path shards.test_path",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\ncount = 2\nsizes = [1, inf]",
            "shards.sizes = inf: expected a finite number",
        ),
        ("[shards]\ncount = 2", "shards.count = 2: expected schedule.name = 'federated'"),
        (
            '[schedule]\nname = "federated"\n[shards]\ncount = 3\n[train]\nepochs = 2',
            "shards.count = 3: nobody would learn from some in 2 chapters",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\ncount = 2\nsizes = [1]",
            "shards.sizes = [1.0]: expected 2, one for each of shards.count, or none",
        ),
        ("[train]\nepochs = 10\nchapters = 3", "train.chapters = 3: expected a divisor of train.epochs = 10"),
        ("[train]\nepochs = 2\nchapters = 4", "train.chapters = 4: expected a divisor of train.epochs = 2"),
        # the file
        ("seed = ", "not valid TOML"),
        ("seed = 1\nseed = 2", "not valid TOML"),
        ("seed = " + 3000 * "[", "not valid TOML"),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    found = sentence(lambda: parse(text))
    assert found.startswith("run.toml: "), found
    assert expected in found, found


#: Lists of tables, whose numbers `tests/unit/test_families.py` looks at.
IN_LISTS = ("augment.", "network.transforms.", "network.input_transforms.")
FLOATS = sorted(
    {
        one.key
        for one in describe.settings()
        if "a number" in one.expected and not one.key.startswith(IN_LISTS) and "list" not in one.expected
    }
)


def test_floats_are_found() -> None:
    assert {"data.label_value", "optimizer.momentum", "head.optimizer.beta1", "learning_rate.gamma"} <= set(FLOATS)


@pytest.mark.parametrize(
    "setting", ["optimizer.epsilon=1e-46", "network.normalise.epsilon=1e-40", "optimizer.learning_rate=4e38"]
)
def test_numbers_beyond_float32(setting: str) -> None:
    assert "expected 0 or between 1.17549e-38 and 3.40282e+38 (float32)" in sentence(lambda: parse("", setting))


@pytest.mark.parametrize("key", FLOATS)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_only_finite_numbers(key: str, value: str) -> None:
    table, _, name = key.rpartition(".")
    found = sentence(lambda: parse(f"[{table}]\n{name} = {value}"))
    assert f"{key} = {float(value)}: expected " in found, found


def test_presets() -> None:
    assert parse("preset = 'hinton'").optimizer == Config().optimizer
    paper = parse("preset = 'paper'")
    assert (
        paper.preset == "paper" and paper.network.layers == [2000] * 4 and paper.network.normalise == L2(epsilon=1e-4)
    )
    assert paper.rule == Goodness(goodness="mean", threshold=0.01)
    assert (paper.optimizer.name, paper.optimizer.learning_rate, paper.optimizer.weight_decay) == ("adam", 0.01, 0.0)
    assert (paper.head.bias, paper.head.normalise, paper.head.optimizer.learning_rate) == (False, False, 1e-4)
    assert (paper.data.mean, paper.data.std, paper.train.batch_size, paper.chapters) == (0.1307, 0.3081, 64, 100)
    dff = parse("preset = 'dff'")
    # A sample's label has the value of its brightest pixel, and the threshold is 2, in every layer.
    assert dff.data.label_value == pytest.approx((1 - dff.data.mean) / dff.data.std, abs=1e-4)
    assert [dff.rule.threshold * units for units in dff.network.layers] == [2.0, 2.0]
    assert (dff.goodness_layers, dff.methods, dff.chapters, dff.learning_rate.constant) == (
        (0, 1),
        ("goodness",),
        1,
        1.0,
    )
    mono = parse("preset = 'mono-forward'")
    assert (mono.rule.name, mono.network.normalise.name, mono.methods) == ("local-softmax", "none", ("last-layer",))
    assert (mono.schedule.name, mono.chapters) == ("sequential", 1)  # layer after layer, each to its end
    assert (mono.optimizer, mono.learning_rate.factor(13, 14)) == (Adam(learning_rate=1.57e-3, weight_decay=0.0), 1.0)
    assert mono.head.optimizer == mono.optimizer and not (mono.head.bias or mono.head.normalise)
    # What a preset leaves out is the default; what the file says wins over both.
    assert paper.optimizer.beta2 == Adam().beta2
    changed = parse("preset = 'paper'\n[optimizer]\nrate = 0.5\n[head.optimizer]\ndecay = 0.25")
    assert (changed.optimizer.name, changed.optimizer.learning_rate) == ("adam", 0.5)
    assert (changed.head.optimizer.name, changed.head.optimizer.weight_decay) == ("adam", 0.25)


def test_parsing_leaves_presets_and_defaults_alone() -> None:
    before = repr(PRESETS), repr(Config())
    parse("preset = 'paper'\n[network]\nlayers = [7]\n[head.optimizer]\nrate = 9", "train.batch_size=3")
    assert before == (repr(PRESETS), repr(Config()))


def test_head_layers() -> None:
    assert parse("[network]\nlayers = [5, 5, 5]").head_layers == (1, 2)
    assert parse("[network]\nlayers = [5]").head_layers == (0,)
    assert parse("[classify]\nmethods = ['goodness']").head_layers == ()
    assert parse().goodness_layers == (1, 2) and parse("", "network.layers=[5]").goodness_layers == (0,)
    assert parse("", "classify.goodness_layers=[3, 1]").goodness_layers == (2, 0)


def test_settings_win() -> None:
    found = parse(
        "preset = 'hinton'\n[train]\nepochs = 5", "train.epochs=7", "head.optimizer.learning_rate=0.5", "seed = 3"
    )
    assert (found.train.epochs, found.head.optimizer.learning_rate, found.seed) == (7, 0.5, 3)
    assert found.head.optimizer.weight_decay == 0.003  # the head's own default
    assert parse("", "preset=paper").network.layers == [2000] * 4
    assert parse("", "optimizer.name=adam", "network.layers=[8, 9]").network.layers == [8, 9]
    assert parse("", "data.path=/a b/c=d").data.path == "/a b/c=d"  # what is not TOML is a string
    assert parse("", "optimizer={name = 'adam', rate = 0.1}").optimizer.learning_rate == 0.1
    assert parse("", "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.epochs", "--set train.epochs: expected table.key=value, for example train.epochs=10"),
        ("train..epochs=3", "--set train..epochs=3: expected table.key=value"),
        ("=3", "--set =3: expected table.key=value"),
        ("train=3", "train = 3: expected a table [train]"),
        ("train.epoch=3", "--set train.epoch=3: unknown key 'train.epoch'; did you mean 'epochs'?"),
        ("seed.x=3", "seed = {'x': 3}: expected a whole number"),
        ("optimizer.name=adm", f"optimizer.name = 'adm': expected one of {CHOICES}; did you mean 'adam'?"),
        ("train.shuffle=yes", "train.shuffle = 'yes': expected true or false"),
        ("seed=", "seed = '': expected a whole number"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate = nan: expected a number more than 0"),
        ("preset=papr", "preset = 'papr': expected one of"),
        ("data.path=\udcff", "data.path"),  # a byte that is no UTF-8: neither TOML nor HDF5 could keep it
    ],
)
def test_wrong_settings(setting: str, expected: str) -> None:
    assert expected in sentence(lambda: parse("", setting))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["head.optimizer.learning_rate=0.123", "head.optimizer.name=adam", "head.bias=false"],
        [
            "rule.name=goodness",
            "classify.methods=['goodness']",
            "train.epochs=12",
            "train.chapters=4",
            f"seed={2**63 - 1}",
        ],
        ["optimizer.epsilon=1e-30", "data.mean=-0.1", "rule.threshold=3", "schedule.timeout=0.1"],
        ["data.path=a'\"\\ \u00e9\u2028\t\x00"],
    ],
)
def test_dump_and_parse(preset: str, settings: list[str]) -> None:
    written = parse(f"preset = '{preset}'", *settings)
    read = config.parse(config.dump(written), "dump", [])
    assert read == written
    assert config.dump(read) == config.dump(written)


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 3\n")
    assert config.read(str(file), ["train.batch_size=5"]) == parse("seed = 3", "train.batch_size=5")
    assert config.read(str(file)).seed == 3
    file.write_bytes(b"seed = \xff")
    for path in (file, tmp_path, tmp_path / "none.toml"):
        found = sentence(lambda path=path: config.read(str(path)))  # type: ignore[misc]
        assert found.startswith(f"{path}: cannot be read as a configuration") and "expected a TOML file" in found
