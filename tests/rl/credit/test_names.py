import pytest

from rl.credit.names import NameTokens, is_silent
from tests.tiny import tiny_processor


@pytest.fixture(scope="module")
def tokens() -> NameTokens:
    return NameTokens(tiny_processor().tokenizer)


ROW = {"task": "identity_consistency", "names": ["bo"], "absent_names": ["A"]}


def test_what_opens_a_tag_or_is_a_name_by_itself_begins_a_name(tokens):
    openers = tokens.openers(ROW)
    texts = {tokens.tokenizer.decode([i]) for i in openers}
    assert {"<", "A"} <= texts
    assert all("<" in text or text.strip().casefold() in ("bo", "a") for text in texts)
    assert not openers & set(tokens.tokenizer.all_special_ids)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Here <bo> sits.", "<bo>"),
        ("Bo sits, and bo runs.", "Bobo"),
        ("A toy, <nobody> knows.", "<nobody>"),
        ("A boat.", ""),
        ("é <bo> 日本", "<bo>"),
    ],
)
def test_the_tokens_of_a_name_are_those_that_wrote_it(tokens, text, written):
    ids = [*tokens.tokenizer.encode(text), tokens.tokenizer.eos_token_id]
    flags = tokens.of_names(ids, ["bo"])
    assert len(flags) == len(ids) and not flags[-1]
    found = "".join(
        tokens.tokenizer.decode([i]) for i, flag in zip(ids, flags, strict=True) if flag
    )
    assert found.replace(" ", "").replace(",", "") == written


def test_silent_is_who_writes_no_listed_name_and_no_tag():
    assert is_silent("A boat on a bobsled.", ["bo"])
    assert not is_silent("Here is bo.", ["bo"])
    assert not is_silent("Here is <rex>.", ["bo"])
