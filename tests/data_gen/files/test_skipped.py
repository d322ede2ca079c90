"""The ledger of skipped items."""

from data_gen.files.skipped import EXAMPLES, SkippedItems, printable


def ledger() -> SkippedItems:
    skipped = SkippedItems()
    for row in range(12):
        skipped.add("crowd", f"row {row}")
    skipped.add("no category")
    skipped.add("blurred", "a.png", count=3)
    return skipped


def test_reasons_are_counted_and_their_first_places_kept():
    skipped = ledger()
    assert skipped.counts == {"crowd": 12, "blurred": 3, "no category": 1}
    assert list(skipped.counts) == ["crowd", "blurred", "no category"]
    assert skipped.total == 16 and "crowd" in skipped and skipped["tiny"] == 0
    assert skipped.places("crowd") == [f"row {i}" for i in range(EXAMPLES)]
    assert skipped.to_json()["blurred"] == {"count": 3, "where": ["a.png"]}


def test_the_line_and_the_clause():
    skipped = ledger()
    assert skipped.line() == (
        "skipped 16: 12 crowd (row 0, row 1, row 2, …), 3 blurred (a.png, …), 1 no category"
    )
    assert skipped.clause() == f"; {skipped.line()}"
    assert not SkippedItems() and SkippedItems().clause() == SkippedItems().line() == ""


def test_ledgers_are_added_up():
    whole = SkippedItems()
    whole.update(ledger(), prefix="coco: ")
    whole.update({"tiny": 2})
    whole.add("coco: blurred", "b.png")
    assert whole.counts == {
        "coco: crowd": 12,
        "coco: blurred": 4,
        "tiny": 2,
        "coco: no category": 1,
    }
    assert whole.places("coco: blurred") == ["a.png", "b.png"]
    assert ledger() == ledger() != whole


def test_values_of_files_become_printable():
    assert printable("a\x00b\n") == "a\ufffdb\ufffd"
    assert printable({"a": 1}) == "{'a': 1}" and len(printable("x" * 999)) == 120
