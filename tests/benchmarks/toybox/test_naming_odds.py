"""Odds of naming: rows are questions, and a policy that cannot tell has an area of one half."""

import pytest

from benchmarks.harness.table import tabulate
from benchmarks.metrics.intervals import estimate, value
from benchmarks.registry import benchmark_class
from benchmarks.toybox.naming_odds import NamingOdds, NamingOddsSettings, odds_metrics
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError

LONG = "This is a caption. " * 4


def asked(**settings) -> NamingOdds:
    return NamingOdds(NamingOddsSettings(**{"questions": 8, "samples": 3, **settings}))


def scored(benchmark: NamingOdds, text) -> dict[str, float]:
    replies = {
        name: [(q, Reply(q.id, text(q), 120)) for q in questions]
        for name, questions in benchmark.sets.items()
    }
    return {key: value(metric) for key, metric in benchmark.score(replies, {}).items()}


def test_a_policy_that_knows_and_one_that_always_names():
    benchmark = asked(questions=30, samples=1)
    assert benchmark_class("naming_odds") is NamingOdds
    knows = scored(benchmark, lambda q: LONG + "".join(f"<{n}>" for n in q.names))
    assert knows["unlisted/auroc"] == 1 and knows["hard/named_not"] == 0
    assert knows["hard/expected_named_long"] == knows["hard/not_silent_long"] == 1
    names = scored(benchmark, lambda q: LONG + f"<{(*q.names, *q.absent_names)[0]}>")
    assert names["unlisted/auroc"] == 0.5 and names["hard/named_not"] == 1


def test_every_metric_has_a_line_in_the_table():
    benchmark = asked()
    replies = {
        name: [(q, Reply(q.id, "", 1)) for q in questions]
        for name, questions in benchmark.sets.items()
    }
    table = tabulate({"base": benchmark.score(replies, {})}, benchmark.titles, benchmark.headlines)
    assert len(table["metrics"]) == 2 * (3 + 8) and len(table["headlines"]) == 6


def test_captions_of_a_question_are_one_row_each_with_an_id_of_its_own():
    questions = asked().sets["hard"]
    assert len(questions) == 24 == len({q.id for q in questions})
    assert len({q.id.rpartition("#")[0] for q in questions}) == 8
    found = odds_metrics(
        ["a"] * 4 + ["b"] * 4,
        [True] * 4 + [False] * 4,
        [True, True, False, False] + [False] * 4,
        [True] * 8,
    )
    assert value(found["named_expected"]) == 0.5 and value(found["auroc"]) == 1
    assert estimate(found["auroc"]).rows == 2


def test_shares_of_a_side_add_up_to_one():
    found = scored(asked(), lambda q: "short" if q.id.endswith("1") else f"<{q.source}>")
    for name in ("unlisted", "hard"):
        for side in ("expected", "not"):
            shares = [v for key, v in found.items() if key.startswith(f"{name}/{side}_")]
            assert len(shares) == 4 and sum(shares) == pytest.approx(1)


def test_the_hard_set_shows_hard_negatives():
    def hard(name):
        return sum(int(q.source.rpartition("hard")[2]) for q in asked(questions=40).sets[name])

    assert hard("unlisted") == 0 < hard("hard")


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"questions": 0}, {"temperature": -1}])
def test_settings_that_ask_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="must"):
        asked(**wrong)
