"""A whole-word tokenizer, for models with a vocabulary of a few dozen words."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from data_gen.toybox.draw import WALLS
from data_gen.toybox.identity import ACCESSORIES, COLOURS, KINDS
from data_gen.toybox.pairs import GROUNDS, MARKS

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNKNOWN, BEGIN, END = range(4)

FUNCTION_WORDS = "a and four left no of one picture pictures right the three toy toys two wall with"


def toybox_words() -> list[str]:
    """All words in captions and prompts of the tiny CLIP and diffusion model, in a fixed order."""
    texts = [
        *KINDS,
        *COLOURS,
        *ACCESSORIES,
        *WALLS,
        *GROUNDS.values(),
        *MARKS.values(),
        FUNCTION_WORDS,
    ]
    return sorted({word for text in texts for word in text.split()})


def word_tokenizer(words: Iterable[str], length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of these words. Characters other than letters count as spaces; any other word is
    ``<unk>``.

    Args:
        words: in lower case, each once.
        length: most tokens of a text, the end token included.
    """
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z]+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=length,
        padding_side="right",
    )
