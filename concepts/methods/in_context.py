"""In-context personalization: references of the user's concepts stand in the prompt (RePIC).

References are handed over with the query (the *skip-retrieval* protocol of RePIC 2506.18369), or
the system finds them among the concepts that the user owns (its *retrieval* protocol,
:mod:`concepts.methods.finding`). What was retrieved, how similar it is and what the policy said of
it is part of every reply.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from concepts.concept import Concept
from concepts.methods.prompting import without_pictures, without_words
from concepts.methods.protocol import (
    Evidence,
    Learned,
    Method,
    Picture,
    Query,
    Reference,
)
from concepts.methods.verification import (
    presence_probabilities,
    presence_row,
    reasoned_probabilities,
)
from data_gen.files.errors import InputError
from rl.policy.generation import row_size
from rl.policy.likelihood import yes_probabilities

SHOW = ("both", "text", "pictures")
"""What the policy is given of a concept beside its name."""


@dataclass(frozen=True)
class InContextSettings:
    """What the policy is given of a concept."""

    show: str = field(
        default="both",
        metadata={
            "help": "both: the concept's picture and what its owner says of it; text or pictures: "
            "its name with that alone."
        },
    )
    reasons: bool = field(
        default=False,
        metadata={
            "help": "Who is there is asked with reasons before the yes or no: slower, and better "
            "where the policy can compare (docs/recipes.md)."
        },
    )

    def __post_init__(self):
        if self.show not in SHOW:
            raise InputError(f"show must be one of {', '.join(SHOW)}, not {self.show!r}")


class InContext(Method):
    """A policy with references in its prompt. Nothing is learned: a concept is known as soon as it
    is in the database."""

    kind = "in_context"
    Settings = InContextSettings
    uses_database = False

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """Nothing is learned, which costs nothing."""
        return [Learned(concept.name, 0.0, 0, 0) for concept in concepts]

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """The policy's p(yes) to the object-consistency question with the concept's picture; or
        with its words alone, where ``show`` is text."""
        rows = []
        for image, name in pairs:
            reference, words = self.reference(name), self.settings.show == "text"
            picture = self._opened(reference.image)
            info = reference.info if words else None
            row = presence_row(
                self._opened(image), name, picture, info, reasons=self.settings.reasons
            )
            rows.append(without_pictures(row, 1) if words else row)
        model, processor = self.load()
        ask = reasoned_probabilities if self.settings.reasons else yes_probabilities
        return ask(model, processor, rows, batch_size=self.batch_size)

    def query_size(self, query: Query) -> tuple[int, int, int]:
        """As of the base, before retrieved references are verified."""
        references = query.references
        if references is None:
            references, _ = self._retrieved(query)
        return row_size(self.row(replace(query, image=self._opened(query.image)), references))

    def row(self, query: Query, references: Sequence[Reference]) -> dict:
        """``prompt`` and ``images`` of a query, less what ``show`` leaves out."""
        show = self.settings.show
        if show == "pictures" and query.prompt is None:
            references = [replace(one, info=None) for one in references]
        row = super().row(query, references)
        if show == "pictures":
            row["prompt"] = without_words(row["prompt"], [one.info for one in references])
        return without_pictures(row, len(references)) if show == "text" else row

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The references that were handed over or retrieved, then the image, then the words."""
        rows, concepts = [], []
        for query in queries:
            references, evidence = query.references, []
            if references is None:
                references, evidence = self._find(query)
                query = replace(query, image=self._opened(query.image))
            rows.append(self.row(query, references))
            concepts.append(tuple(evidence))
        return rows, concepts

    def _find(self, query: Query) -> tuple[list[Reference], list[Evidence]]:
        """The references that were retrieved and, where they are verified, confirmed."""
        references, evidence = self._retrieved(query)
        if self.verify is None or not references or query.image is None:
            return references, evidence
        threshold = self.verify
        model, processor = self.load()
        p = presence_probabilities(
            model,
            processor,
            self._opened(query.image),
            [(r.name, self._opened(r.image)) for r in references],
            batch_size=self.batch_size,
        )
        evidence = [
            replace(one, p=of, used=of >= threshold) for one, of in zip(evidence, p, strict=True)
        ]
        return [r for r, one in zip(references, evidence, strict=True) if one.used], evidence

    def _retrieved(self, query: Query) -> tuple[list[Reference], list[Evidence]]:
        if self.finder is None:
            raise InputError(
                f"query {query.id!r} comes without references; give the system "
                f"`retrieval`, such as {{encoder: imagenet}}"
            )
        found = self.finder.find(query)
        references = [
            replace(
                self.finder.owned[one.name], image=self._opened(self.finder.owned[one.name].image)
            )
            for one in found
        ]
        return references, [Evidence(one.name, one.similarity) for one in found]
