"""Replies are kept, used again, and asked anew where anything they depend on has changed."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks.harness.predictions import (
    keep_likelihoods,
    likelihood_path,
    predict,
    query_digest,
    read_replies,
    seconds_path,
    seconds_per_query,
)
from concepts.methods.in_context import InContext
from concepts.methods.prompting import query_of_row
from concepts.methods.protocol import Evidence, Query, Reply
from data_gen.files.errors import InputError
from data_gen.files.files import kept_lines
from rl.policy.generation import length_batches, row_size
from tests.tiny import tiny_rows


@pytest.fixture(scope="module")
def rows():
    """Rows of one to two references, and two without images."""
    return tiny_rows(9, text_only=2)


@pytest.fixture(scope="module")
def queries(rows):
    return [query_of_row(row) for row in rows]


def written(query, references):
    raise AssertionError("these queries come with their prompts")


def must_not_load():
    raise AssertionError("nothing to ask, so nothing to load")


def predicted(load, queries, path, **changes):
    options = {"fingerprint": "p", "max_new_tokens": 6, "batch_size": 4, **changes}
    return predict(InContext(load, written), queries, path, **options)


def test_replies_are_kept_and_used_again(policy, rows, queries, tmp_path):
    path = tmp_path / "base" / "set.jsonl"
    first = predicted(lambda: policy, queries, path, wants_box=True)
    assert [reply.id for reply in first] == [row["id"] for row in rows]
    assert predicted(must_not_load, queries, path, wants_box=True) == first
    assert first[1].box_frame == [64.0, 64.0] and first[-1].box_frame is None  # no image

    # A kill: two lines gone and one torn.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]) + "\n" + lines[-3][:20])
    asked = []

    class Counted(InContext):
        def reply(self, queries, *args):
            asked.extend(query.id for query in queries)
            return super().reply(queries, *args)

    again = predict(
        Counted(lambda: policy, written),
        queries,
        path,
        fingerprint="p",
        max_new_tokens=6,
        batch_size=4,
        wants_box=True,
    )
    assert again == first and sorted(asked) == sorted(json.loads(li)["id"] for li in lines[-3:])
    assert len(path.read_text().splitlines()) == len(rows)

    # A subset, and then the whole: nothing is lost.
    assert predicted(must_not_load, queries[:2], path, wants_box=True) == first[:2]
    predicted(lambda: policy, queries[:2], path, wants_box=True, fingerprint="q")
    assert len(path.read_text().splitlines()) == len(rows)


def other_prompt(query):
    content = [*query.prompt[0]["content"], {"type": "text", "text": "Really?"}]
    return replace(query, prompt=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    "change", [{"fingerprint": "q"}, {"max_new_tokens": 5}, {"queries": other_prompt}]
)
def test_another_policy_limit_or_query_is_asked_anew(policy, queries, tmp_path, change):
    path = tmp_path / "set.jsonl"
    predicted(lambda: policy, queries[:2], path)
    changed = list(queries[:2])
    change = dict(change)
    if other := change.pop("queries", None):
        changed[0] = other(changed[0])
    asked = []
    predicted(lambda: asked.append(1) or policy, changed, path, **change)
    assert asked


def test_the_digest_sees_all_that_a_system_is_told(queries, tmp_path):
    query = queries[2]
    one, two = query.references
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    for path, colour in ((file, "red"), (other, "blue")):
        Image.new("RGB", (8, 8), colour).save(path)
    told = [
        query,
        replace(query, references=(two, one)),
        replace(query, references=()),
        replace(query, references=None),
        replace(query, image=one.image),
        replace(query, image=None),
        replace(query, image=file),
        replace(query, image=other),
        replace(query, prompt=None),
        replace(query, text="Who?"),
        replace(query, k=4),
        replace(query, options=("a", "b")),
        replace(query, task="other"),
        replace(query, references=(replace(one, info="round"), two)),
        replace(query, references=(replace(one, name="zoe"), two)),
    ]
    digests = [query_digest(one) for one in told]
    assert len(set(digests)) == len(told) and query_digest(replace(query)) == digests[0]
    assert query_digest(replace(query, id="other")) == digests[0], "the id is kept beside it"


def test_queries_are_asked_in_the_batches_of_their_rows(policy, rows, queries, tmp_path):
    asked = []

    class Noted(InContext):
        def reply(self, queries, *args):
            asked.append([query.id for query in queries])
            return [Reply(query.id, "", 0) for query in queries]

    predict(
        Noted(must_not_load, written),
        queries,
        tmp_path / "set.jsonl",
        fingerprint="p",
        max_new_tokens=6,
        batch_size=4,
    )
    assert asked == [
        [rows[i]["id"] for i in batch]
        for batch in length_batches([row_size(row) for row in rows], 4)
    ]


def test_kept_replies_are_read_back(tmp_path):
    path = tmp_path / "set.jsonl"
    query = Query("a", "t", "Who?")
    concepts = (Evidence("bo", 0.5, 0.25, used=False),)
    made = ["p-float32", query_digest(query), 6]

    def line(**changes):
        return json.dumps(
            {
                "id": "a",
                "text": "<bo>",
                "n_tokens": 3,
                "box_frame": None,
                "concepts": [vars(one) for one in concepts],
                "made_from": made,
                **changes,
            }
        )

    path.write_text(
        "\n".join(
            [
                line(),
                line(id="b", made_from=["q", "0" * 12, 6]),
                line(id="c", text=None),
                line(id="d", n_tokens="many"),
                line(id="e", made_from=None),
                line(id="f", unknown=1),
                line(id="g", concepts=[{"who": 1}]),
                "[1]",
                "7",
                line()[:40],
            ]
        )
    )
    replies, likelihoods, makers = read_replies(path)
    assert replies == {
        "a": Reply("a", "<bo>", 3, None, concepts),
        "b": Reply("b", "<bo>", 3, None, concepts),
    }
    assert makers == {"p-float32", "q"} and not likelihoods
    # Where the queries are known, replies to others under the same id do not count.
    only, _, makers = read_replies(path, [query, replace(query, id="b")])
    assert list(only) == ["a"] and makers == {"p-float32"}
    with pytest.raises(InputError, match="holds no predictions; run without --score_only"):
        read_replies(path, [replace(query, text="Where?")])
    with pytest.raises(InputError, match="holds no predictions"):
        read_replies(tmp_path / "nowhere.jsonl")


def test_the_last_likelihood_of_an_id_counts(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "yes", "n_tokens": 1, "made_from": ["p"]}))
    likelihood_path(path).write_text(
        '{"id": "a", "scores": [0.1]}\n{"id": "a", "scores": [0.9]}\n{"id": "b"}\n{"id": "c", "sc'
    )
    assert likelihood_path(path).name == "set.likelihoods.jsonl"
    assert read_replies(path)[1] == {"a": [0.9]}


def test_likelihoods_are_kept_and_asked_anew_where_something_changed(policy, queries, tmp_path):
    path = likelihood_path(tmp_path / "set.jsonl")
    chosen = queries[:3]  # any question has a probability of yes
    asked = []

    class Counted(InContext):
        def likelihoods(self, queries):
            asked.extend(query.id for query in queries)
            return super().likelihoods(queries)

    def keep(queries, fingerprint="p"):
        asked.clear()
        keep_likelihoods(
            Counted(lambda: policy, written), queries, path, fingerprint=fingerprint, batch_size=2
        )
        return {entry["id"]: entry["scores"] for entry in kept_lines(path)}

    first = keep(chosen)
    assert asked == [query.id for query in chosen]
    assert all(len(scores) == 1 and 0 <= scores[0] <= 1 for scores in first.values())
    assert keep(chosen) == first and not asked
    path.write_text(path.read_text()[:-20])  # torn by a kill
    assert keep(chosen) == first and asked == [chosen[-1].id]
    keep([other_prompt(chosen[0])])
    assert asked == [chosen[0].id]
    keep([other_prompt(chosen[0])], fingerprint="q")
    assert asked == [chosen[0].id]


def test_options_are_scored_by_likelihood(policy, queries, tmp_path):
    path = likelihood_path(tmp_path / "set.jsonl")
    chosen = [replace(query, options=("yes", "no way")) for query in queries[:2]]
    keep_likelihoods(
        InContext(lambda: policy, written), chosen, path, fingerprint="p", batch_size=2
    )
    for line in path.read_text().splitlines():
        (yes, one), (no, more) = json.loads(line)["scores"]
        assert yes < 0 and no < 0 and 0 < one < more


def test_the_time_of_a_query_is_a_mean_over_its_systems_batches(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "not asked.jsonl"]
    of_sets = [[(8, 4.0, "me"), (64, 9.0, "who was me")], [(2, 2.0, "me")]]
    for path, took in zip(paths[:2], of_sets, strict=True):
        lines = [{"queries": n, "seconds": s, "made_from": who} for n, s, who in took]
        seconds_path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert seconds_per_query(paths, {"me"}) == 0.6
    assert seconds_per_query(paths, {"nobody"}) is None
