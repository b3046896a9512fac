"""The report: what is on the page, whatever runs and files are called, and that it needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.commands import report as command
from ffmpi.errors import UserError
from ffmpi.report import tables
from ffmpi.report.confusion import confusion_table
from ffmpi.run.history import histories
from ffmpi.run.planned import planned
from ffmpi.run.trace import KINDS, MESSAGE, SPAN, STREAMS, Trace
from tests.unit.test_plots import chapter, left
from tests.unit.test_timeline import two_ranks

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

_VOID = {"meta", "link", "img", "source", "br", "hr"}


class Parsed(HTMLParser):
    """A page: that every element is closed, its text, the cells of its tables, what it fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.classes: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] or "" for name in ("src", "srcset", "href") if name in given]
        assert not [name for name in given if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.classes.setdefault(given.get("class") or "", []).append(self.rows[-1][0])
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open[-1:]):
            self.rows[-1][-1] += data


def written(tmp_path: Path, runs: list[Path], *options: str) -> tuple[str, Parsed]:
    out = tmp_path / "report.html"
    arguments = ["report", *map(str, runs), "-o", str(out), *options]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0
    text = out.read_text()
    return text, Parsed(text)


EVIL = "<script>alert(1)</script> \" onload='x' {{ 7 * 7 }} $x^$ &amp;"


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    one = left(tmp_path / "one", [chapter(1), chapter(2), chapter(3, warnings=[EVIL])])
    other = left(tmp_path / "<img src=x>", [chapter(1)], "optimizer = {name = 'adam'}", seed=7)
    facts = {
        "host": EVIL,
        "ranks": 1,
        "command": ["ffmpi", EVIL],
        "packages": {EVIL: "1"},
        "data": {"splits": {EVIL: 1.5}},
    }
    (other / "environment.json").write_text(json.dumps(facts))
    return [one, other]


def test_runs_stand_side_by_side_and_what_differs_is_marked(tmp_path: Path, two: list[Path]) -> None:
    text, parsed = written(tmp_path, two, "--no-data")
    rows = {row[0]: row[1:] for row in parsed.rows if row}
    assert rows["test accuracy by softmax"] == ["83.00 %", "81.00 %"]
    assert rows["epochs"] == ["3 of 3", "1 of 3, not finished"]
    assert rows["seed"] == ["0", "7", "0"]
    assert rows["optimizer.name"] == ["sgd", "adam", "sgd"]
    assert {"seed", "optimizer.name"} <= set(parsed.classes["set"])
    assert "train.batch_size" not in parsed.classes["set"]
    assert "1 of 3 epochs are done." in text
    assert rows["rank 0"][:4] == ["0.50 s", "0.25 s", "50 %", "2.0"]  # of the other, which has one chapter


def test_nothing_that_files_say_is_more_than_text(tmp_path: Path, two: list[Path]) -> None:
    text, parsed = written(tmp_path, two, "--no-data")
    assert "script" not in parsed.tags
    assert parsed.tags.count("img") == 1  # the curves
    assert "49" not in [row[1] for row in parsed.rows if row and row[0] == "host"]
    assert text.count("&lt;script&gt;alert(1)") >= 3
    assert EVIL in [cell for row in parsed.rows for cell in row]
    for address in parsed.addresses:
        assert address.startswith(("data:image/svg+xml;base64,", "data:,", "#"))
    assert not re.search(r"url\(|@import|http-equiv=\"refresh", text)
    assert "default-src 'none'" in text


def test_what_cannot_be_shown_is_said_on_the_page(tmp_path: Path, two: list[Path]) -> None:
    (two[0] / "trace.h5").write_bytes(b"no trace")
    text, _ = written(tmp_path, two[:1])
    assert "No confusion matrix and no weights: " in text
    assert "No timeline: " in text


def test_a_trace_is_drawn_as_a_whole_and_from_near_to(tmp_path: Path, two: list[Path]) -> None:
    two_ranks().save(two[0] / "trace.h5")
    text, parsed = written(tmp_path, two[:1], "--no-data")
    assert parsed.tags.count("img") == 3
    assert "What each rank did from 0.000 to 16.000 seconds after the start" in text


def test_a_trace_says_what_ranks_have_sent(tmp_path: Path) -> None:
    run = left(tmp_path / "run", [chapter(1, ranks=chapter(1)["ranks"] * 2)])
    kind, train = KINDS.index("forward"), STREAMS.index("train")
    batches = [(rank, kind, rank, 0, train, batch, 0, 0, batch, batch + 0.5) for rank in (0, 1) for batch in range(10)]
    spans, messages = np.array(batches, SPAN), np.array([(0, 1, 0, 0, 3 << 20, 0.6, 0.7)], MESSAGE)
    Trace(spans, messages, ["a", "b"], ["layer 1", "layer 2"]).save(run / "trace.h5")
    page_of = command.page_of(histories([str(run)]), [], with_data=False)
    (section,) = page_of.sections
    ranks, kinds, _ = section.tables
    assert [row.name for row in ranks.rows] == ["rank 0, a, layer 1", "rank 1, b, layer 2"]
    assert [[cell.text for cell in row.cells[-2:]] for row in ranks.rows] == [["1", "3.0 MB"], ["0", "0.0 MB"]]
    assert (kinds.columns, kinds.rows[0].cells[0].text) == (["", "forward"], "100.0 %")


def test_a_plan_is_compared_with_what_the_run_took(tmp_path: Path, two: list[Path]) -> None:
    (two[0] / "plan.json").write_text('{"planned": 31.2, "took": 32.0, "machine": "this"}')
    rows = {row[0]: row[1:] for row in written(tmp_path, two, "--no-data")[1].rows if row}
    assert rows["time of all steps"] == ["planned 31.2 s, took 32.0 s (3 %)", tables._NONE]
    (two[1] / "plan.json").write_text('{"planned": 3, "took": null}')
    assert planned(two[1]).text == "planned 3.0 s"  # stopped before its end
    (two[1] / "plan.json").write_text('{"planned": "soon"}')
    with pytest.raises(UserError, match=r"plan\.json: cannot be read"):
        planned(two[1])


def test_seeds_are_summed_up(tmp_path: Path) -> None:
    runs = [
        left(tmp_path / f"run-{seed}", [chapter(3 - seed, accuracy={"softmax": 80 + seed})], seed=seed)
        for seed in (0, 1)
    ]
    finished = [
        left(tmp_path / f"end-{seed}", [chapter(3, accuracy={"softmax": 80.0 + seed})], seed=seed) for seed in (0, 1)
    ]
    rows = {row[0]: row[1:] for row in written(tmp_path, finished, "--no-data")[1].rows if row}
    assert rows["end"] == ["0, 1", "80.50 ± 0.71 %"]
    # After other numbers of epochs they are not compared.
    assert len(command.page_of(histories(map(str, runs)), [], with_data=False).results) == 1


def test_of_many_ranks_the_extremes_are_told(tmp_path: Path) -> None:
    own = [
        {"seconds": 2.0, "computing": 0.01 * rank, "waiting": 0.1, "flop": 1e9, "peak_bytes": 2.0**20}
        for rank in range(100)
    ]
    (run,) = histories([str(left(tmp_path / "run", [chapter(1, ranks=own), chapter(2, ranks=own)]))])
    table = tables.ranks_table(run, [], None)
    assert [row.name for row in table.rows] == ["least", "median", "greatest"]
    assert [row.cells[0].text for row in table.rows] == ["0.00 s", "0.99 s", "1.98 s"]


def test_of_many_ranks_their_hosts_are_told(tmp_path: Path) -> None:
    own = [
        {"host": host, "ranks": 20, "seconds": 2.0, "computing": 1.0, "waiting": 0.5, "flop": 40e9,
         "least_computing": 0.5, "most_computing": 1.5, "peak_bytes": 20 * 2.0**20}
        for host in "ab"
    ]  # fmt: skip
    # The run began with fewer ranks, of which each was told of.
    lines = [chapter(1, ranks=[own[0] | {"host": "", "ranks": 1}]), chapter(2, ranks=own), chapter(3, ranks=own)]
    (run,) = histories([str(left(tmp_path / "run", lines))])
    assert [one.rank_count for one in run.chapters] == [1, 40, 40]
    table = tables.ranks_table(run, [], None)
    assert [row.name for row in table.rows] == ["a, 20 ranks", "b, 20 ranks"]
    texts = ["2.00 s", "1.00 s", "3.00 s", "1.00 s", "50 %", "40.0", "20 MB", "0 MB"]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [texts, texts]


def test_of_many_classes_the_pairs_mixed_up_most_are_told() -> None:
    matrix = np.diag(np.full(30, 9))
    matrix[3, 5], matrix[7, 1] = 2, 4
    table = confusion_table([f"c{number}" for number in range(30)], matrix, "softmax", "276 test samples")
    assert [(row.name, *(cell.text for cell in row.cells)) for row in table.rows] == [
        ("c7 for c1", "4", "13"), ("c3 for c5", "2", "11"),
    ]  # fmt: skip
    small = confusion_table(["a", "b"], np.array([[3, 1], [0, 0]]), "softmax", "4 test samples")
    assert [[cell.text for cell in row.cells] for row in small.rows] == [["3", "1", "75.0 %"], ["·", "·", ""]]
    assert [cell.shade for cell in small.rows[0].cells] == [0.75, 0.25, 0]


def test_a_report_that_cannot_be_is_a_sentence(tmp_path: Path, two: list[Path]) -> None:
    (two[1] / "environment.json").write_text('{"ranks": {}}')
    for arguments, words in (
        ([str(two[0]), "-o", "a.pdf"], "ends in .html"),
        ([str(two[0]), "--no-data", "-o", str(tmp_path / "no" / "a.html")], "cannot be written"),
        ([str(tmp_path)], "no such run directory"),
        ([str(two[1]), "--no-data"], "environment.json: expected a JSON object as a run leaves it"),
    ):
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)
    many = [str(left(tmp_path / f"{number}", [chapter(1)])) for number in range(13)]
    with pytest.raises(UserError, match="13 runs: at most 12"):
        command.report(many, "a.html", [], False)


#: Shows the page in a frame as narrow as a telephone, and says how wide it has become, and that its pictures are there.
FRAME = """<!DOCTYPE html><title>frame</title><iframe id="frame" src="report.html" width="400" height="800"></iframe>
<script>addEventListener("load", () => {
  const page = document.getElementById("frame").contentDocument;
  const pictures = [...page.images].map(one => one.naturalWidth > 0);
  document.title = JSON.stringify({width: page.documentElement.scrollWidth, pictures});
});</script>"""


def test_a_browser_shows_it_without_a_complaint(tmp_path: Path, two: list[Path]) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    written(tmp_path, two, "--no-data")
    (tmp_path / "frame.html").write_text(FRAME)
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [browser, *options, profile, "--dump-dom", f"file://{tmp_path}/frame.html"], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    found: dict[str, Any] = json.loads(title[1])
    assert found == {"width": found["width"], "pictures": [True]}
    assert 300 < found["width"] <= 400
