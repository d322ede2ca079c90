"""What R2P asks, in the words of a YAML file: conversations for a policy, texts for an encoder.

``default.yaml`` is for real vision-language models and CLIPs, ``toybox.yaml`` for the toybox's.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from concepts.concept import tag_of
from concepts.methods.r2p.fingerprints import Fingerprint, without_article
from concepts.methods.r2p.reasoning import LETTERS
from data_gen.files.errors import InputError
from data_gen.files.settings import find_config, read_yaml

HERE = Path(__file__).parent
SHIPPED = {"default": HERE / "default.yaml", "toybox": HERE / "toybox.yaml"}

FIELDS = {
    "fingerprint.thing": {"name", "category"},
    "fingerprint.person": {"name", "category"},
    "comparison.option": {"letter", "name", "description"},
    "comparison.question": {"letters"},
    "pair.reference": {"name", "description"},
    "pair.question": {"name"},
    "whole": {"general", "category", "features"},
    "attribute.with": {"category", "attribute"},
    "attribute.is": {"category", "attribute"},
    "joined_by": set(),
}
"""Template -> the placeholders that it may have."""

WORD_LISTS = ("people", "leave_out")

UNNAMED_CATEGORY = "thing"
"""What a concept without category is called in a prompt."""


@dataclass(frozen=True)
class Prompts:
    """The templates of a file.

    Attributes:
        templates: key of :data:`FIELDS` -> text.
        people: categories that are people.
        leave_out: features with one of these words are not shown.
    """

    templates: dict[str, str]
    people: tuple[str, ...]
    leave_out: tuple[str, ...]

    def fill(self, template: str, **values: str) -> str:
        """A template with its placeholders filled in."""
        return self.templates[template].format(**values)

    def describe(self, fingerprint: Fingerprint) -> str:
        """``red dog, white stripes, a blue top hat``"""
        return ", ".join(self.attributes(fingerprint))

    def attributes(self, fingerprint: Fingerprint) -> list[str]:
        """What a description says, one by one; nothing of an empty fingerprint."""
        said = [fingerprint.general, *fingerprint.shown(self.leave_out)]
        return [attribute for attribute in said if attribute]

    def fingerprint_row(self, name: str, category: str, image: Image.Image) -> dict:
        """Asks for the fingerprint of a concept, shown by one image."""
        kind = "person" if set(category.casefold().split()) & set(self.people) else "thing"
        text = self.fill(
            f"fingerprint.{kind}", name=tag_of(name), category=category or UNNAMED_CATEGORY
        )
        return _row([image, text])

    def comparison_row(
        self, image: Image.Image, names: Sequence[str], fingerprints: Sequence[Fingerprint]
    ) -> dict:
        """Asks which of N descriptions fits an image, with reasons."""
        options = "".join(
            self.fill(
                "comparison.option",
                letter=letter,
                name=tag_of(name),
                description=self.describe(fingerprint),
            )
            for letter, name, fingerprint in zip(LETTERS, names, fingerprints, strict=False)
        )
        letters = ", ".join(LETTERS[: len(names)])
        return _row([options, image, self.fill("comparison.question", letters=letters)])

    def pair_row(
        self, image: Image.Image, name: str, fingerprint: Fingerprint, reference: Image.Image
    ) -> dict:
        """Asks whether an image shows the concept of a reference, yes or no."""
        told = self.fill(
            "pair.reference", name=tag_of(name), description=self.describe(fingerprint)
        )
        return _row([reference, told, image, self.fill("pair.question", name=tag_of(name))])

    def whole_text(self, fingerprint: Fingerprint) -> str:
        """All of a fingerprint, as an encoder reads it."""
        shown = fingerprint.shown(self.leave_out) or fingerprint.features
        features = self.templates["joined_by"].join(map(without_article, shown))
        return self.fill(
            "whole",
            general=fingerprint.general,
            category=fingerprint.category or UNNAMED_CATEGORY,
            features=features,
        )

    def attribute_text(self, attribute: str, category: str) -> str:
        """One attribute of something of a category, as an encoder reads it."""
        attribute = without_article(attribute)
        names_it = bool(category) and category.casefold() in attribute.casefold().split()
        return self.fill(
            "attribute.is" if names_it else "attribute.with",
            category=category or UNNAMED_CATEGORY,
            attribute=attribute,
        )


def load_prompts(path: str | Path) -> Prompts:
    """Read a file of prompts.

    Args:
        path: ``default``, ``toybox``, or a YAML file with the same keys.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    file = SHIPPED.get(str(path)) or find_config(path)
    if not file.exists():
        raise InputError(
            f"prompts {str(path)!r} cannot be read; give {', '.join(SHIPPED)} or a file"
        )
    given: Any = read_yaml(file)
    templates = {}
    for key, fields in FIELDS.items():
        value = given
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, str) or not value or not _placeholders(value) <= fields:
            allowed = ", ".join(f"{{{field}}}" for field in sorted(fields)) or "none"
            raise InputError(f"{path}: '{key}' needs a text, with no placeholders but {allowed}")
        templates[key] = value
    lists = []
    for key in WORD_LISTS:
        words = given.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{path}: '{key}' needs a list of words")
        lists.append(tuple(word.casefold() for word in words))
    return Prompts(templates, *lists)


def without_special_tokens(text: str, tokenizer) -> str:
    """A text of a policy's without what its tokenizer reads as one special token, such as the place
    of an image: in a prompt it would count as one."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    before = None
    while text != before:  # what is left may join to another
        before = text
        for token in special - {""}:
            text = text.replace(token, "")
    return text


def _placeholders(template: str) -> set[str]:
    """Names in braces; ``{""}`` for a template that cannot be filled in."""
    try:
        return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError:
        return {""}


def _row(parts: Sequence[str | Image.Image]) -> dict:
    """One user turn of texts and images, in this order."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": None}
        for part in parts
    ]
    return {
        "prompt": [{"role": "user", "content": content}],
        "images": [part for part in parts if not isinstance(part, str)],
    }
