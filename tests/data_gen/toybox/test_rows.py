"""Toybox rows: the contract, determinism, balance, targets."""

from collections import Counter

import pytest

from data_gen.rows import ICT, OCT, VLT, check_row, encode_image, read_rows, write_rows
from data_gen.toybox.rows import (
    DESCRIPTION,
    ToyboxSettings,
    toybox_row,
    toybox_rows,
)

COUNTS = {OCT: 24, VLT: 12, ICT: 24, DESCRIPTION: 4}


def test_every_row_keeps_the_contract_and_a_set_can_be_read_back(tmp_path):
    rows = list(toybox_rows(COUNTS, 3, ToyboxSettings()))
    for row in rows:
        check_row(row)
    manifest = write_rows(rows, tmp_path / "set", seed=3, generator="toybox")
    assert manifest["tasks"] == COUNTS
    back = read_rows(tmp_path / "set")
    assert back["id"] == [row["id"] for row in rows]


def test_the_same_seed_gives_the_same_bytes_and_a_prefix_of_a_larger_set():
    def bytes_of(counts, seed):
        return {
            row["id"]: (
                str({k: v for k, v in row.items() if k != "images"}),
                [encode_image(i)["bytes"] for i in row["images"]],
            )
            for row in toybox_rows(counts, seed, ToyboxSettings())
        }

    first, again = bytes_of(COUNTS, 4), bytes_of(COUNTS, 4)
    assert first == again
    larger = bytes_of({task: n + 2 for task, n in COUNTS.items()}, 4)
    assert all(larger[row_id] == row for row_id, row in first.items())
    other = bytes_of(COUNTS, 5)
    assert not set(other) & set(first)


def test_oct_is_balanced_and_half_of_the_negatives_are_hard():
    rows = [toybox_row(OCT, i, 0, ToyboxSettings(query_px=32, reference_px=32)) for i in range(600)]
    assert Counter(row["answer"] for row in rows) == {"yes": 300, "no": 300}
    sources = Counter(row["source"] for row in rows)
    assert 120 < sources["toybox:hard"] < 180


def test_vlt_queries_hold_two_to_four_toys():
    sources = Counter(toybox_row(VLT, i, 0, ToyboxSettings())["source"] for i in range(60))
    assert set(sources) == {"toybox:2", "toybox:3", "toybox:4"}


def test_naming_every_reference_does_not_pay():
    rows = [toybox_row(ICT, i, 0, ToyboxSettings()) for i in range(200)]
    assert {len(row["names"]) for row in rows} == {0, 1, 2, 3}
    assert sum(bool(row["absent_names"]) for row in rows) > 80
    for row in rows:
        assert len(row["images"]) == len(row["names"]) + len(row["absent_names"]) + 1


def test_targets_answer_their_rows():
    settings = ToyboxSettings(targets=True, named_share=1.0)
    for i in range(20):
        assert (row := toybox_row(OCT, i, 0, settings))["target"] == row["answer"]
        row = toybox_row(ICT, i, 0, settings)
        assert all(f"<{name}>" in row["target"] for name in row["names"])
        assert not any(f"<{name}>" in row["target"] for name in row["absent_names"])


def test_settings_and_tasks_are_checked():
    with pytest.raises(ValueError, match="one of train, heldout, validation, test, not 'dev'"):
        ToyboxSettings(split="dev")
    with pytest.raises(ValueError, match="not 'dance'"):
        next(toybox_rows({"dance": 1}, 0, ToyboxSettings()))
