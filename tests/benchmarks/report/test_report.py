import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.benchmark import contract_row
from benchmarks.harness.samples import sample
from benchmarks.harness.table import tabulate
from benchmarks.report.charts import (
    Series,
    line_chart,
    number,
    smooth,
    ticks,
    training_charts,
)
from benchmarks.report.evaluation_page import evaluation_page
from benchmarks.report.html import safe
from benchmarks.report.run_page import (
    page,
    read_run,
    write_report,
)
from benchmarks.report.sample_cards import gallery, marked
from benchmarks.toybox.benchmark import SETS, Toybox, ToyboxBenchmarkSettings
from benchmarks.toybox.owned import OWNED
from concepts.methods.in_context import InContext
from concepts.methods.protocol import Reply
from launch.report import main

EVIL = "<script>alert(1)</script> <img src=x onerror=alert(1)> <bo> \u202e \x00 \ud800 \"'&"
VOID = {"meta", "img"}


class Checker(HTMLParser):
    """Collects tags and attributes; complains about tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def check_page(html: str) -> Checker:
    """A page that is well formed and needs nothing from elsewhere."""
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    assert not checker.tags & {"script", "iframe", "link", "object"}
    for name, value in checker.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href"):
            assert value.startswith("data:"), value
    assert "url(" not in html and "@import" not in html
    return checker


def toybox():
    """Two questions of each set that needs no encoder."""
    sets = [name for name in SETS if name not in OWNED]
    return Toybox(
        ToyboxBenchmarkSettings(
            size="s", sizes={"s": dict.fromkeys(sets, 2)}, seed=1, reference_px=16, query_px=16
        )
    )


@pytest.fixture
def run_dir(tmp_path):
    """A run with all its parts; the policies wrote what no page should believe."""
    benchmark = toybox()
    texts = {"base": EVIL, "<b>trained</b>": "[0, 0, 8, 8] yes"}
    found = {
        label: {
            n: [Reply(q.id, text, 9, [16.0, 16.0]) for q in questions]
            for n, questions in benchmark.sets.items()
        }
        for label, text in texts.items()
    }
    scores = {
        label: benchmark.score(
            {n: list(zip(benchmark.sets[n], of[n], strict=True)) for n in of}, {}
        )
        for label, of in found.items()
    }
    result = {
        "counts": {n: 2 for n in benchmark.sets},
        "systems": [{"label": label} for label in texts],
        **tabulate(scores, benchmark.titles, benchmark.headlines, resamples=20),
    }
    asked = InContext(list, benchmark.write)
    samples = []
    for n, (question, _) in benchmark.sets.items():
        row = contract_row(question, asked.row(question, question.references))
        samples.append(sample(row, SETS[n], {label: of[n][0] for label, of in found.items()}))
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "evaluation.json").write_text(json.dumps(result))
    (tmp_path / "eval" / "gallery.json").write_text(json.dumps(samples))
    log = [
        {
            "step": i,
            "reward": 0.1 * i,
            "tasks/visual_localization/reward": 0.1 * i,
            "tasks/visual_localization/length": None,
            "kl": 0.01,
            "seconds": 2.0 * i,
        }
        for i in range(1, 9)
    ]
    lines = [json.dumps(line) for line in log] + ['{"step": 9, "rew']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    (tmp_path / "config.resolved.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "x",
                "policy": "<i>base</i>",
                "rewards": ["rewards:mention_f1"],
                "max_steps": 8,
                "reward_weights": [2],
                "num_generations": 8,
                "lora_r": 4,
                "learning_rate": 1e-5,
            }
        )
    )
    return tmp_path


def test_whole_page(run_dir):
    html = write_report(run_dir).read_text(encoding="utf-8")
    checker = check_page(html)
    assert {"svg", "table", "article", "mark"} <= checker.tags
    assert "8 of 8" in html and "16 s" in html and "LoRA, rank 4" in html and "1.0e-05" in html
    assert "mention f1 × 2" in html and "visual localization" in html
    assert html.count("<article") == len(SETS) - len(OWNED)
    assert "&lt;b&gt;trained&lt;/b&gt;" in html and "&lt;i&gt;base&lt;/i&gt;" in html


def test_an_evaluation_has_a_page_of_its_own(run_dir):
    result = json.loads((run_dir / "eval" / "evaluation.json").read_text())
    samples = json.loads((run_dir / "eval" / "gallery.json").read_text())
    for policy in result["systems"]:
        policy["path"] = EVIL
    result |= {"benchmark": "toybox", "skipped": {EVIL: {"count": 1200, "where": ["row 3", EVIL]}}}
    html = evaluation_page(EVIL, result, samples)
    assert {"table", "article", "mark", "ul"} <= check_page(html).tags
    assert "1,200 ×" in html and "Training" not in html
    del result["skipped"]
    html = evaluation_page("x", result, [])
    check_page(html)
    assert "Skipped" not in html and "Samples" not in html


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("log.jsonl", "There is no log.jsonl"),
        ("config.resolved.yaml", "There is no config.resolved.yaml"),
        ("eval/evaluation.json", "There is no eval/evaluation.json"),
        ("eval/gallery.json", "There is no eval/gallery.json"),
    ],
)
def test_missing_parts_are_named(run_dir, gone, said):
    (run_dir / gone).unlink()
    html = page(read_run(run_dir))
    check_page(html)
    assert said in html and html.count("There is no") == 1


def test_an_empty_run_has_a_page_too(tmp_path, capsys):
    html = page(read_run(tmp_path))
    check_page(html)
    assert html.count("There is no") == 4
    main([str(tmp_path)])
    assert (tmp_path / "report.html").exists()
    file = tmp_path / "report.html"
    assert capsys.readouterr().out == (
        f"wrote {file}\nnext: python -m webbrowser {file.as_uri()}\n"
    )
    with pytest.raises(SystemExit, match="no run at"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="'run' is missing"):
        main([])


def test_a_broken_part_is_named(run_dir):
    (run_dir / "eval" / "gallery.json").write_text("[{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_run(run_dir)


def test_log_lines_torn_or_repeated(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        '{"step": 1, "reward": 0.1}\n{"step": 2, "reward": 0.2}\n{"step": 2, "reward": 0.3}\n'
        '{"step": 2, "train_loss": 1}\nnot json\n[1]\n{"step": 3, "re'
    )
    log = read_run(tmp_path).log
    assert [line["step"] for line in log] == [1, 2]
    assert log[1]["reward"] == 0.3 and log[1]["train_loss"] == 1


def test_charts_for_whatever_was_logged():
    plain = [
        {
            "step": i,
            "reward": 0.5,
            "completions/mean_length": 9.0,
            "frac_reward_zero_std": 0.2,
            "rewards/mention_f1/mean": 0.4,
            "kl": float("nan"),
        }
        for i in range(3)
    ]
    html = training_charts(plain)
    assert html.count("<svg") == 3 and "mention f1" in html  # reward, length, groups
    assert "Not logged: Cut off, KL, Entropy" in html
    assert training_charts([{"step": 1}]).count("<svg") == 0
    check_page(training_charts([{"step": 1, "tasks/<b>/reward": 1}]))


def test_one_point_and_flat_lines_draw():
    for points in ([(5, 0.0)], [(1, 2.0), (2, 2.0)], [(1, -3.0), (9, 1e6)]):
        html = line_chart("t", "n", [Series("s", points)])
        assert "nan" not in html and "inf" not in html
        check_page(html)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_cover_the_range(low, span):
    found = ticks(low, low + span)
    slack = 1e-6 * max(1.0, abs(low), span)
    assert found == sorted(found) and 2 <= len(found) <= 8
    assert found[0] <= low + slack and found[-1] >= low + span - slack


def test_numbers_and_smoothing():
    assert [number(v) for v in (150, 0.25, 1.2e-5, 0, 123456)] == [
        "150",
        "0.25",
        "1.2e-05",
        "0",
        "123,456",
    ]
    points = [(i, float(i % 2)) for i in range(100)]
    mean = smooth(points)
    assert [x for x, _ in mean] == list(range(100))
    assert all(0.3 < y < 0.7 for _, y in mean)
    assert smooth(points[:5]) == points[:5]  # too few to smooth


places = st.integers(-5, 70)


@given(st.text(max_size=60), st.lists(st.tuples(places, places), max_size=5))
def test_any_text_is_escaped(text, spans):
    html = marked(text, [[a, b, "right"] for a, b in sorted(spans)])
    bare = re.sub(r'</?mark( class="right")?>|<span class="note">\(nothing\)</span>', "", html)
    assert "<" not in bare and ">" not in bare and '"' not in bare
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)
    if text and text.isprintable() and text.isascii():
        import html as library

        assert library.unescape(bare) == text


def test_a_very_long_answer_is_cut():
    html = marked("a" * 100_000, [[99_000, 99_010, "wrong"]])
    assert len(html) < 5000 and "96,000 more characters" in html and "<mark" not in html
    assert safe("\x00\x1b\x7f") == "␀␛␡"


def test_a_choice_shows_question_options_and_the_right_one():
    row = {
        "id": "q",
        "task": "multiple_choice",
        "prompt": [{"role": "user", "content": [{"type": "text", "text": "Hat?\nA. red\nB. <i>"}]}],
        "images": [],
        "answer": None,
        "box": None,
        "names": [],
        "absent_names": [],
        "options": ["red", "<i>"],
        "correct": 1,
    }
    html = gallery([sample(row, "choice", {"base": Reply("q", "A", 1)}, "Hat?")])
    assert '<p class="question">Hat?</p>' in html and "the right one is <strong>B</strong>" in html
    assert "<b>A</b> red</li>" in html
    assert "<li class=right><b>B</b> &lt;i&gt; <b class=tick-right>✓</b></li>" in html
    assert "answers A" in html and "tick-wrong" in html and "no concept was shown" not in html
