"""R2P, training-free personalization by retrieval and reasoning over fingerprints (2503.18623).

    learn       the policy writes a fingerprint of each concept: a sentence, a category, features
    retrieve    mean of image-image and image-text similarity; the k most similar are candidates
    reason      the policy says which attributes each candidate shares with the image, and chooses
    verify      an encoder compares those attributes with the image; does it choose the same one?
    compare     where it does not, the policy is shown each candidate beside the image: the one with
                the largest p(yes) / (p(yes) + p(no)) it is

The concept that is found stands in the prompt as in :mod:`concepts.methods.in_context`. A reply
that cannot be read is decided by retrieval, and counted by its reason. As in the paper, one concept
is found in an image, however many it shows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods.protocol import (
    Evidence,
    Learned,
    Method,
    Picture,
    Query,
    Reference,
    busy_seconds,
)
from concepts.methods.r2p.decision import (
    PAIRWISE,
    REASONING,
    STAGES,
    TEXT,
    VERIFICATION,
    Verdict,
    best_verified,
    check_stages,
    verdict,
)
from concepts.methods.r2p.fingerprints import Fingerprint, owners_words, read_fingerprint
from concepts.methods.r2p.prompts import load_prompts, without_special_tokens
from concepts.methods.r2p.reasoning import MOST_OPTIONS, Choice, consistent, read_choice
from concepts.methods.r2p.replies import UnreadableReply
from concepts.retrieval import name_keys, names_in
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import Encoder, load_encoder
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import open_photo
from rl.policy.generation import generate
from rl.policy.likelihood import yes_probabilities

LEARNED_BY = ("fingerprint.thing", "fingerprint.person", "whole", "joined_by")
"""The prompts that what is learned depends on."""

shared_encoder = lru_cache(maxsize=4)(load_encoder)
"""Methods that differ in their stages alone share one."""


@dataclass(frozen=True)
class R2PSettings:
    """What R2P asks, and which of its stages are on."""

    encoder: str = field(
        default="openai/clip-vit-large-patch14-336",
        metadata={"help": "What compares images and texts, as in data_gen/images/encoders.py."},
    )
    stages: list[str] = field(
        default_factory=lambda: list(STAGES),
        metadata={"help": f"Those that are on, of {', '.join(STAGES)}."},
    )
    k: int = field(default=3, metadata={"help": "Candidates that retrieval hands on."})
    images: int = field(
        default=1, metadata={"help": "Images of a concept that retrieval compares; the paper's 1."}
    )
    normalise: bool = field(
        default=False,
        metadata={
            "help": "Bring both similarities to 0-1 over the concepts before their mean, as the "
            "authors' later code does."
        },
    )
    consistent: bool = field(
        default=False,
        metadata={
            "help": "Hold reasoning to its own words: what it found in the image for one option is "
            "shared by every option whose description has it, and the one that shares most is the "
            "answer. Verification then compares whole descriptions. false: as the paper."
        },
    )
    margin: float = field(
        default=0.0,
        metadata={
            "help": "How much better, in cosine, another candidate's attributes must fit the image "
            "for verification to disagree with reasoning."
        },
    )
    confirm: float | None = field(
        default=None,
        metadata={
            "help": "Least p(yes) of the policy that the concept found is there; null: it is not "
            "asked, as in the paper, and somebody is always found."
        },
    )
    prompts: str = field(
        default="default", metadata={"help": "default, toybox, or a YAML file like them."}
    )
    max_new_tokens: int = field(
        default=512, metadata={"help": "Where fingerprints and reasons are cut."}
    )

    def __post_init__(self):
        check_stages(self.stages)
        if not 1 <= self.k <= MOST_OPTIONS:
            raise InputError(f"k must be between 1 and {MOST_OPTIONS}, not {self.k}")
        if min(self.images, self.max_new_tokens) < 1:
            raise InputError("images and max_new_tokens start at 1")
        if self.margin < 0:
            raise InputError(f"margin starts at 0, not {self.margin}")
        if self.confirm is not None and not 0 <= self.confirm <= 1:
            raise InputError(f"confirm must be a probability, not {self.confirm}")


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one concept.

    Attributes:
        concept: as it was learned.
        fingerprint: its policy's words, or its owner's where those could not be read.
        images: (n, D) float32 of length 1.
        text: (D,) of the fingerprint; ``None`` where the encoder reads no texts, or none is there.
        problem: why the policy's fingerprint could not be read; ``None``: it could.
    """

    concept: Concept
    fingerprint: Fingerprint
    images: np.ndarray
    text: np.ndarray | None
    problem: str | None


@dataclass(frozen=True)
class Candidate:
    """One of the k most similar concepts.

    Attributes:
        name: its own.
        visual: cosine of the image and the concept's nearest image.
        textual: cosine of the image and the fingerprint; ``None`` where texts are not compared.
        score: by which it was retrieved.
        shared: the attributes that reasoning found.
        verified: mean cosine of these and the image; ``None`` where there are none.
        p: the policy's p(yes) beside the reference, where it was asked.
    """

    name: str
    visual: float
    textual: float | None
    score: float
    shared: tuple[str, ...] = ()
    verified: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Found:
    """Whom an image shows, and why.

    Attributes:
        candidates: by retrieval, the best first.
        option: which of them it is.
        by: who decided (:class:`concepts.methods.r2p.decision.Verdict`).
        reply: what the policy reasoned, as it wrote it; empty where it was not asked.
    """

    candidates: tuple[Candidate, ...]
    option: int
    by: str
    reply: str = ""

    @property
    def candidate(self) -> Candidate:
        """The one it is."""
        return self.candidates[self.option]


class R2P(Method):
    """Fingerprints, retrieval and reasoning.

    Concepts of the database that have not been learned are learned when they are first needed:
    it costs one completion.

    Args:
        load, write and others: as :class:`concepts.methods.protocol.Method`.

    Attributes:
        decided: who decided how often (``by`` of :class:`Found`).
        unreadable: fingerprints, reasons and images that could not be read, by reason.
    """

    kind = "r2p"
    Settings = R2PSettings

    def __init__(self, load, write, **common):
        super().__init__(load, write, **common)
        self.prompts = load_prompts(self.settings.prompts)
        self.decided: Counter[str] = Counter()
        self.unreadable = SkippedItems()
        self._known: dict[str, Known] = {}
        self._unusable: dict[str, Concept] = {}
        self._matrix: tuple[list[str], np.ndarray, np.ndarray, np.ndarray] | None = None

    # ---- concepts ----

    @classmethod
    def learned_from(cls, settings: R2PSettings) -> dict:
        """As of the base: stages and thresholds may change without learning anew."""
        given, prompts = asdict(settings), load_prompts(settings.prompts)
        return {
            **{key: given[key] for key in ("encoder", "images", "max_new_tokens")},
            **{key: prompts.templates[key] for key in LEARNED_BY},
            "words": [prompts.people, prompts.leave_out],
        }

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """As of the base; a fingerprint that cannot be read is replaced by the owner's words, and
        counted. ``negatives`` are not needed."""
        costs: dict[str, Learned] = {}
        new = []
        for concept in concepts:
            kept = self._kept(concept)
            if kept is None:
                new.append(concept)
            else:
                costs[concept.name] = kept
        bar = tqdm(total=len(new), desc="fingerprints", disable=None if progress else True)
        for start in range(0, len(new), self.batch_size):
            batch = new[start : start + self.batch_size]
            for learned in self._learn(batch):
                costs[learned.name] = learned
            bar.update(len(batch))
        bar.close()
        self._matrix = None
        return [costs[concept.name] for concept in concepts]

    def forget(self, names: Sequence[str]) -> None:
        """As of the base."""
        super().forget(names)
        for name in names:
            self._known.pop(name, None)
        self._matrix = None

    def fingerprint(self, name: str) -> Known:
        """What is known of a concept.

        Raises:
            InputError: it is not in the database.
        """
        known = self._current()
        if name not in known:
            raise InputError(f"{name!r} is no concept of the database; add it first")
        return known[name]

    # ---- queries ----

    def identify(self, pictures: Sequence[Picture]) -> list[Found]:
        """Which concept each of N pictures shows.

        Raises:
            InputError: there is no concept to find.
            PhotoError: a picture cannot be opened.
        """
        if not pictures:
            return []
        for_encoder = [
            p if isinstance(p, Image.Image) else open_photo(p, PHOTO_PX) for p in pictures
        ]
        images = [self._opened(picture) for picture in pictures]
        vectors = self._encoder.images(for_encoder)
        ranked = self._retrieve(vectors)
        choices, replies = self._reason(images, ranked)
        ranked = self._verify(vectors, ranked, choices)
        verdicts = [
            verdict(
                self.settings.stages, len(candidates), *_votes(choice, candidates, self.settings)
            )
            for candidates, choice in zip(ranked, choices, strict=True)
        ]
        ranked, verdicts = self._compare(images, ranked, verdicts)
        found = [
            Found(candidates, one.option or 0, one.by, reply)
            for candidates, one, reply in zip(ranked, verdicts, replies, strict=True)
        ]
        self.decided.update(one.by for one in found)
        return found

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """p in 0-1 that the named concept is in the image: from a half on where it is the one that
        is found (and confirmed, where the settings say so), below a half where it is not.

        Within its half, p follows the policy's p(yes) beside the concept's reference; without
        pairs, the similarity.
        """
        pictures = {_key(picture): picture for picture, _ in pairs}
        found = dict(zip(pictures, self.identify(list(pictures.values())), strict=True))
        return self.presence(pairs, [found[_key(picture)] for picture, _ in pairs])

    def presence(self, pairs: Sequence[tuple[Picture, str]], found: Sequence[Found]) -> list[float]:
        """As :meth:`recognize`, from what :meth:`identify` found in each pair's picture.

        Raises:
            InputError: a concept is not known: which.
        """
        for _, name in pairs:
            self.fingerprint(name)
        if self._asks_pairs:
            likely = self._p([(self._opened(picture), name) for picture, name in pairs])
        else:
            likely = [_similarity(one, name) for one, (_, name) in zip(found, pairs, strict=True)]
        confirm = self.settings.confirm or 0.0
        return [
            0.5 + p / 2 if one.candidate.name == name and p >= confirm else min(p / 2, 0.4999)
            for one, (_, name), p in zip(found, pairs, likely, strict=True)
        ]

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The references that were handed over, that the question names, or the one that is found;
        then the image, then the words."""
        keys = name_keys(self._current()) if any(q.references is None for q in queries) else {}
        named = [() if q.references is not None else names_in(q.text, keys) for q in queries]
        seen = {
            i: query.image
            for i, query in enumerate(queries)
            if query.references is None and not named[i] and query.image is not None
        }
        found = dict(zip(seen, self._confirmed(list(seen.values())), strict=True))
        rows, concepts = [], []
        for i, query in enumerate(queries):
            references: Sequence[Reference] = query.references or ()
            evidence: tuple[Evidence, ...] = ()
            if query.references is None:
                evidence = found.get(i) or tuple(Evidence(name) for name in named[i])
                references = [self._reference(one.name) for one in evidence if one.used]
                query = replace(query, image=self._opened(query.image))
            rows.append(self.row(query, references))
            concepts.append(evidence)
        return rows, concepts

    # ---- the stages ----

    def _retrieve(self, vectors: np.ndarray) -> list[tuple[Candidate, ...]]:
        """The k most similar concepts of each of N image vectors."""
        self._current()
        names, images, texts, has_text = self._stacked()
        visual = np.einsum("nd,cid->nci", vectors, images).max(-1)  # (N, C)
        score, textual = visual, None
        if TEXT in self.settings.stages and has_text.any():
            textual = vectors @ texts.T
            # A concept without words is as near by them as the others are on average.
            others = textual[:, has_text].mean(1, keepdims=True)
            textual = np.where(has_text, textual, others)
            both = (_to_unit(visual), _to_unit(textual)) if self.settings.normalise else None
            score = np.mean(both or (visual, textual), axis=0)
        ranked = []
        for n, row in enumerate(score):
            order = np.argsort(-row, kind="stable")[: self.settings.k]
            ranked.append(
                tuple(
                    Candidate(
                        names[c],
                        float(visual[n, c]),
                        None if textual is None else float(textual[n, c]),
                        float(row[c]),
                    )
                    for c in order
                )
            )
        return ranked

    def _reason(
        self, images: Sequence[Image.Image], ranked: Sequence[tuple[Candidate, ...]]
    ) -> tuple[list[Choice | None], list[str]]:
        """What the policy reasons about each image's candidates, and what it wrote."""
        choices: list[Choice | None] = [None] * len(images)
        replies = [""] * len(images)
        # Nothing is shared with a candidate of whom nothing is said: retrieval decides.
        asked = [
            i
            for i, candidates in enumerate(ranked)
            if len(candidates) > 1
            and all(self._known[candidate.name].fingerprint.features for candidate in candidates)
        ]
        if REASONING not in self.settings.stages or not asked:
            return choices, replies
        model, processor = self.load()
        rows = []
        for i in asked:
            names = [candidate.name for candidate in ranked[i]]
            fingerprints = [self._known[name].fingerprint for name in names]
            rows.append(self.prompts.comparison_row(images[i], names, fingerprints))
        written = generate(
            model,
            processor,
            rows,
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.batch_size,
        )
        for i, (reply, _) in zip(asked, written, strict=True):
            replies[i] = reply
            names = [candidate.name for candidate in ranked[i]]
            try:
                choice = read_choice(reply, names)
                if self.settings.consistent:
                    choice = consistent(choice, [self._description(name) for name in names])
                choices[i] = choice
            except UnreadableReply as reason:
                self.unreadable.add(f"reasons: {reason}")
        return choices, replies

    def _verify(
        self,
        vectors: np.ndarray,
        ranked: Sequence[tuple[Candidate, ...]],
        choices: Sequence[Choice | None],
    ) -> list[tuple[Candidate, ...]]:
        """The candidates with the attributes that reasoning found, and how well these fit."""
        with_shared = [
            tuple(replace(c, shared=s) for c, s in zip(candidates, choice.shared, strict=True))
            if choice is not None
            else candidates
            for candidates, choice in zip(ranked, choices, strict=True)
        ]
        if VERIFICATION not in self.settings.stages:
            return with_shared
        texts = {
            text: i
            for i, text in enumerate(
                dict.fromkeys(t for of in with_shared for c in of for t in self._attributes(c))
            )
        }
        if not texts:
            return with_shared
        encoded = self._texts(list(texts))
        return [
            tuple(
                replace(
                    c, verified=float(np.mean([vector @ encoded[texts[t]] for t in attributes]))
                )
                if (attributes := self._attributes(c))
                else c
                for c in candidates
            )
            for vector, candidates in zip(vectors, with_shared, strict=True)
        ]

    def _compare(
        self,
        images: Sequence[Image.Image],
        ranked: Sequence[tuple[Candidate, ...]],
        verdicts: Sequence[Verdict],
    ) -> tuple[list[tuple[Candidate, ...]], list[Verdict]]:
        """The open verdicts, decided by the policy's p(yes) beside each candidate."""
        asked = [
            (i, candidate.name)
            for i, (candidates, one) in enumerate(zip(ranked, verdicts, strict=True))
            if one.option is None
            for candidate in candidates
        ]
        p = iter(self._p([(images[i], name) for i, name in asked]))
        ranked = [
            tuple(replace(c, p=next(p)) for c in candidates) if one.option is None else candidates
            for candidates, one in zip(ranked, verdicts, strict=True)
        ]
        return ranked, [
            replace(one, option=max(range(len(of)), key=lambda o, of=of: of[o].p or 0.0))
            if one.option is None
            else one
            for of, one in zip(ranked, verdicts, strict=True)
        ]

    def _p(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """p(yes) / (p(yes) + p(no)) that each image shows the named concept, beside its first
        image."""
        if not pairs:
            return []
        references = {name: self._reference(name).image for name in {name for _, name in pairs}}
        rows = [
            self.prompts.pair_row(image, name, self._known[name].fingerprint, references[name])
            for image, name in pairs
        ]
        model, processor = self.load()
        return yes_probabilities(model, processor, rows, batch_size=self.batch_size)

    def _confirmed(self, pictures: Sequence[Picture]) -> list[tuple[Evidence, ...]]:
        """Who was found in each picture, the others retrieved, and who of them is used."""
        found = self.identify(pictures)
        confirm = self.settings.confirm
        images = [self._opened(p) for p in pictures] if confirm is not None else []
        asked = list(zip(images, (one.candidate.name for one in found), strict=False))
        p: Sequence[float | None] = self._p(asked) or [None] * len(found)
        return [
            tuple(
                Evidence(
                    c.name,
                    c.score,
                    likely if i == one.option and likely is not None else c.p,
                    used=i == one.option and (likely is None or likely >= (confirm or 0.0)),
                )
                for i, c in enumerate(one.candidates)
            )
            for one, likely in zip(found, p, strict=True)
        ]

    # ---- what is known ----

    @property
    def _encoder(self) -> Encoder:
        encoder = shared_encoder(self.settings.encoder)
        if encoder.texts is None and {TEXT, VERIFICATION} & set(self.settings.stages):
            raise InputError(
                f"encoder {self.settings.encoder!r} reads no texts, which the stages {TEXT} and "
                f"{VERIFICATION} need; give a CLIP, such as toybox_clip, or switch them off"
            )
        return encoder

    @property
    def _asks_pairs(self) -> bool:
        return PAIRWISE in self.settings.stages or self.settings.confirm is not None

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        encode = self._encoder.texts
        assert encode is not None  # _encoder has said so
        return encode(texts)

    def _attributes(self, candidate: Candidate) -> list[str]:
        """The attributes of a candidate that are verified, as the encoder reads them. With
        ``consistent``, all of its description: the mean of few would not be fair to many."""
        name = candidate.name
        category = self._known[name].fingerprint.category
        attributes = self._description(name) if self.settings.consistent else candidate.shared
        return [self.prompts.attribute_text(attribute, category) for attribute in attributes]

    def _description(self, name: str) -> list[str]:
        return self.prompts.attributes(self._known[name].fingerprint)

    def _owned(self) -> dict[str, Concept]:
        """Every concept of the user's."""
        return dict(self._database.concepts())

    @property
    def _database(self) -> Database:
        if self.database is None:
            raise InputError("r2p has no concepts to find; give the system a database")
        return self.database

    def _reference(self, name: str) -> Reference:
        """A concept with its first image that opens, opened for the policy."""
        concept = self._owned()[name]
        (photo,) = self.photos(concept, 1).values()
        return Reference(name, photo, concept.info or None)

    def _current(self) -> dict[str, Known]:
        """What is known of the concepts as the database has them now. Those that are new are
        learned; those that cannot be, counted, and left out."""
        owned = self._owned()
        gone = [name for name, one in self._known.items() if owned.get(name) != one.concept]
        for name in gone:
            del self._known[name]
        new = [
            concept
            for name, concept in owned.items()
            if name not in self._known and self._unusable.get(name) != concept
        ]
        for concept in new:
            try:
                self.photos(concept, 1)
            except InputError:
                self.unreadable.add("concept whose images do not open", concept.name)
                self._unusable[concept.name] = concept
        if gone or new:
            self.learn([c for c in new if c.name not in self._unusable])
        if not self._known:
            raise InputError("r2p has no concept to find: no image of the database opens")
        return self._known

    def _stacked(self) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """Names of C concepts, (C, I, D) of their images (the first repeated where there are
        fewer), (C, D) of their texts, and (C,) which have one."""
        if self._matrix is None:
            known = list(self._known.values())
            most = max(len(one.images) for one in known)
            images = np.stack([one.images[np.arange(most) % len(one.images)] for one in known])
            blank = np.zeros(images.shape[-1], np.float32)
            texts = np.stack([blank if one.text is None else one.text for one in known])
            has_text = np.array([one.text is not None for one in known])
            self._matrix = [one.concept.name for one in known], images, texts, has_text
        return self._matrix

    def _kept(self, concept: Concept) -> Learned | None:
        """A concept that was learned before, from memory or from disk."""
        known = self._known.get(concept.name)
        if known is not None and known.concept == concept:
            n_bytes = self.store.size(concept.name) if self.store is not None else 0
            return Learned(concept.name, 0.0, n_bytes, 0, reused=True)
        kept = self.store.load(concept) if self.store is not None else None
        if self.store is None or kept is None:
            return None
        tensors, facts = kept
        if facts.get("encoder") != self._encoder.fingerprint:
            return None
        said = facts["fingerprint"]
        self._known[concept.name] = Known(
            concept,
            Fingerprint(said["general"], said["category"], tuple(said["features"])),
            tensors["images"].numpy(),
            tensors["text"].numpy() if "text" in tensors else None,
            facts["problem"],
        )
        self._count_problem(self._known[concept.name])
        n_bytes = self.store.size(concept.name)
        return Learned(concept.name, facts["seconds"], n_bytes, 0, reused=True)

    def _learn(self, concepts: Sequence[Concept]) -> list[Learned]:
        """Write the fingerprints of one batch, and keep them."""
        start = busy_seconds()
        pictures = [self.photos(c, self.settings.images, PHOTO_PX) for c in concepts]
        model, processor = self.load()
        rows = [
            self.prompts.fingerprint_row(c.name, c.category, self._opened(next(iter(of))))
            for c, of in zip(concepts, pictures, strict=True)
        ]
        written = generate(
            model,
            processor,
            rows,
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.batch_size,
        )
        encoder = self._encoder
        found = []
        for concept, of, (reply, _) in zip(concepts, pictures, written, strict=True):
            reply, problem = without_special_tokens(reply, processor.tokenizer), None
            try:
                said = read_fingerprint(reply, concept.name, concept.category)
            except UnreadableReply as reason:
                said, problem = owners_words(concept), str(reason)
            text = None
            if encoder.texts is not None and said.general:
                text = encoder.texts([self.prompts.whole_text(said)])[0]
            found.append(Known(concept, said, encoder.images(list(of.values())), text, problem))
        seconds = (busy_seconds() - start) / len(concepts)
        return [self._keep(known, seconds, encoder.fingerprint) for known in found]

    def _keep(self, known: Known, seconds: float, encoder: str) -> Learned:
        name = known.concept.name
        self._known[name] = known
        self._count_problem(known)
        if known.problem is not None:
            print(
                f"the fingerprint that the policy wrote of {name!r} cannot be read "
                f"({known.problem}); what its owner says of it stands in",
                flush=True,
            )
        tensors = {"images": torch.from_numpy(known.images)}
        if known.text is not None:
            tensors["text"] = torch.from_numpy(known.text)
        n_bytes = sum(tensor.nbytes for tensor in tensors.values())
        if self.store is not None:
            facts = {
                "fingerprint": asdict(known.fingerprint),
                "problem": known.problem,
                "encoder": encoder,
                "seconds": seconds,
                "n_parameters": 0,
            }
            n_bytes = self.store.save(known.concept, tensors, facts)
        return Learned(name, seconds, n_bytes, 0)

    def _count_problem(self, known: Known) -> None:
        if known.problem is not None:
            self.unreadable.add(f"fingerprint: {known.problem}", known.concept.name)


def _votes(
    choice: Choice | None, candidates: Sequence[Candidate], settings: R2PSettings
) -> tuple[int | None, int | None]:
    """What reasoning answered, and which option its attributes speak for."""
    if choice is None:
        return None, None
    scores = [candidate.verified for candidate in candidates]
    return choice.option, best_verified(scores, choice.option, settings.margin)


def _similarity(found: Found, name: str) -> float:
    """The score of a candidate in 0-1; 0 for one that was not retrieved."""
    scores = [c.score for c in found.candidates if c.name == name]
    return float(np.clip(scores[0], 0.0, 1.0)) if scores else 0.0


def _to_unit(scores: np.ndarray) -> np.ndarray:
    """(N, C) scores, each row brought to 0-1; a row of equal ones becomes 0."""
    low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
    return (scores - low) / np.maximum(high - low, 1e-12)


def _key(picture: Picture) -> object:
    return picture if isinstance(picture, Path) else id(picture)
