"""A tokenizer whose pieces are whole words, for models that know a few dozen of them."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from data_gen.toybox.draw import WALLS
from data_gen.toybox.identity import ACCESSORIES, COLOURS, KINDS
from data_gen.toybox.pairs import GROUNDS, MARKS

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNKNOWN, BEGIN, END = range(4)

GLUE = "a and four left no of one picture pictures right the three toy toys two wall with"


def toybox_words() -> list[str]:
    """All words that captions and prompts of the tiny models consist of, in a fixed order."""
    texts = [*KINDS, *COLOURS, *ACCESSORIES, *WALLS, *GROUNDS.values(), *MARKS.values(), GLUE]
    return sorted({word for text in texts for word in text.split()})


def word_tokenizer(words: Iterable[str], length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of these words; marks other than letters are blanks, other words ``<unk>``.

    Args:
        words: in lower case, each once.
        length: most tokens of a text, the end included.
    """
    pieces = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z]+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", model_max_length=length, padding_side="right")
