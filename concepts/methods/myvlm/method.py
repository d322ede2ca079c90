"""MyVLM: a head says whether a concept is in the image, and a learned vector behind the image's
tokens makes the policy speak of it (arXiv 2403.14599).

Heads (:mod:`concepts.methods.myvlm.heads`; of persons, :mod:`concepts.methods.myvlm.faces`) look at
every image. For each that fires, the concept's vector is put behind the image's tokens; several may
fire. Where none does, the policy is asked as if there were no concepts. A concept has one vector
for captions and boxes, and one for questions. A request for a caption says whom the picture shows,
as the one that the vector was learned with did.

Where paper and released code differ, the paper's reading is the default and the other a setting
(:class:`concepts.methods.myvlm.learning.VectorSettings`).
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods.myvlm.faces import face_descriptors, face_probability, faces_of_person
from concepts.methods.myvlm.heads import Head, HeadSettings, learn_head
from concepts.methods.myvlm.learning import VectorSettings, learn_vector
from concepts.methods.myvlm.questions import is_person, load_questions
from concepts.methods.myvlm.targets import caption_targets, question_targets, saying_who
from concepts.methods.myvlm.vectors import vectors_behind_image
from concepts.methods.myvlm.views import Augmentation, opened, view_features
from concepts.methods.protocol import (
    LOCATE_TOKENS,
    Evidence,
    Learned,
    LearnedMethod,
    Picture,
    Query,
    Reply,
    busy_seconds,
    inside,
)
from concepts.methods.soft_prompts.tokens import frozen
from data_gen.files.errors import InputError
from data_gen.images.boxes import Box
from data_gen.images.encoders import Encoder, EncoderError, load_encoder
from data_gen.images.photos import PhotoError, at_side
from data_gen.rows import ICT, OCT, VLT
from data_gen.tasks.prompts import conversation
from data_gen.tasks.questions import Reference
from rewards.names import names_written
from rewards.parsing import answer_part, one_box
from rl.policy.boxes import box_frames
from rl.policy.generation import complete
from rl.policy.likelihood import option_log_likelihoods, yes_probabilities

CAPTION, QUESTION = "caption", "question"
"""The two vectors of a concept."""


@dataclass(frozen=True)
class MyVLMSettings:
    """How concepts are learned and switched on."""

    encoder: str = field(
        default="imagenet", metadata={"help": "Of the heads, as in data_gen/images/encoders.py."}
    )
    cache: str = field(
        default="runs/cache/features", metadata={"help": "Directory of the encoder's features."}
    )
    threshold: float = field(
        default=0.5, metadata={"help": "Least p of a head that switches its concept on, 0-1."}
    )
    head: HeadSettings = field(
        default_factory=HeadSettings, metadata={"help": "How heads are learned."}
    )
    head_views: int = field(
        default=8, metadata={"help": "Flipped and rotated views of each picture for the heads."}
    )
    negatives: int = field(
        default=150,
        metadata={"help": "Pictures that a head is told from, at most; its category's come first."},
    )
    faces: bool = field(
        default=False, metadata={"help": "Know persons by their faces; needs the extra `faces`."}
    )
    vector: VectorSettings = field(
        default_factory=VectorSettings, metadata={"help": "How vectors are learned."}
    )
    questions: str = field(
        default="",
        metadata={"help": "YAML file of questions; empty: ours; toybox: the tiny base's; none."},
    )
    shows: Literal["vector", "reference"] = field(
        default="vector",
        metadata={"help": "What a concept that fires adds: its vector, or its picture and words."},
    )
    seed: int = field(default=0, metadata={"help": "Of heads and vectors."})
    control: Literal["", "no_vector", "random", "other"] = field(
        default="",
        metadata={
            "help": "What stands behind the image in place of a concept's vector: nothing, a "
            "random one, or another concept's."
        },
    )

    def __post_init__(self):
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold must be from 0 to 1, not {self.threshold!r}")
        if self.head_views < 1:
            raise InputError(f"head_views must be 1 or more, not {self.head_views!r}")
        if self.negatives < 1:
            raise InputError(f"negatives must be 1 or more, not {self.negatives!r}")
        if self.questions != "none":
            load_questions(self.questions)


class MyVLM(LearnedMethod):
    """A policy with a head and two vectors for each concept.

    Arguments are those of :class:`concepts.methods.protocol.Method`.
    """

    kind = "myvlm"
    Settings = MyVLMSettings
    names_matter = True

    def __init__(self, load, write, **common):
        super().__init__(load, write, **common)
        self._encoder: Encoder | None = None

    @classmethod
    def learned_from(cls, settings: MyVLMSettings) -> dict:
        """See :meth:`concepts.methods.protocol.Method.learned_from`: all but the threshold and the
        cache, and the questions themselves."""
        asked = ("threshold", "cache", "questions", "control")
        learned = {key: value for key, value in asdict(settings).items() if key not in asked}
        words = None if settings.questions == "none" else load_questions(settings.questions)
        return {**learned, "words": words, "requests": "say who is there"}

    # ---- learning ----

    def _learn_new(
        self,
        new: Sequence[tuple[Concept, dict[Path, Image.Image]]],
        negatives: Sequence[Picture],
        progress: bool,
    ) -> Iterator[Learned]:
        """A head tells its concept from ``negatives`` and from the other concepts of the
        database."""
        negative_views: dict[Any, np.ndarray | None] = {}
        shown = tqdm(new, desc="learning, myvlm", unit="concept", disable=not progress)
        for concept, photos in shown:
            shown.set_postfix_str(concept.name)
            yield self._learn(concept, photos, self._others(concept, negatives), negative_views)

    def _learn(
        self,
        concept: Concept,
        photos: dict[Path, Image.Image],
        others: Sequence[tuple[Picture, bool]],
        views: dict[Any, np.ndarray | None],
    ) -> Learned:
        began, s = busy_seconds(), self.settings
        tensors = self._head(concept, photos, others, views)
        facts: dict[str, Any] = {"head_seconds": round(busy_seconds() - began, 2)}
        if s.shows == "vector":
            model, processor = self.load()
            images = [self._sized(photo) for photo in photos.values()]
            with frozen(model):
                targets = {
                    CAPTION: caption_targets(
                        model,
                        processor,
                        concept,
                        list(photos),
                        images,
                        s.vector.captions,
                        self.batch_size,
                    )
                }
                if s.questions != "none":
                    kind = "person" if is_person(concept) else "thing"
                    asked = load_questions(s.questions)[kind]
                    targets[QUESTION] = question_targets(
                        model, processor, concept, images, asked, self.batch_size
                    )
                for which, of in targets.items():
                    if not of:  # the policy answered nothing
                        continue
                    tensors[which], losses = learn_vector(
                        model, processor, images, of, s.vector, seed=s.seed
                    )
                    facts[f"{which}_losses"] = [round(loss, 4) for loss in losses]
                    facts[f"{which}_examples"] = [target.text for target in of[:3]]
        n_parameters = sum(tensor.numel() for tensor in tensors.values())
        facts |= {"seconds": round(busy_seconds() - began, 2), "n_parameters": n_parameters}
        return self._keep(concept, tensors, facts)

    def _head(
        self,
        concept: Concept,
        photos: dict[Path, Image.Image],
        others: Sequence[tuple[Picture, bool]],
        views: dict[Any, np.ndarray | None],
    ) -> dict[str, Tensor]:
        """The head of a concept, told from the first of ``others`` that open; ``views`` keeps their
        features, or that they do not open, for the next concept."""
        s = self.settings
        if s.faces and is_person(concept):
            try:
                known = faces_of_person([face_descriptors(image) for image in photos.values()])
            except InputError as error:
                raise InputError(f"{concept.name!r}: {error}") from None
            return {"faces": torch.from_numpy(known)}
        how, negatives, same = Augmentation(), [], []
        for picture, of_category in others:
            key = picture if isinstance(picture, Path) else id(picture)
            if key not in views:
                try:
                    n = max(1, s.head_views // 4)
                    views[key] = view_features(self.encoder, [picture], n, how, s.cache)[0]
                except PhotoError:
                    views[key] = None
            if (of := views[key]) is not None:
                negatives.append(of)
                same.append(of_category)
            if len(negatives) == s.negatives:
                break
        if not negatives:
            raise InputError(
                f"the head of {concept.name!r} has nothing to tell it from; give `negatives`, a "
                "folder of photos that show none of the concepts, or further concepts"
            )
        yes = view_features(self.encoder, [*photos], s.head_views, how, s.cache)
        head = learn_head(yes, np.stack(negatives), s.head, same_category=same, seed=s.seed)
        return {"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)}

    def _others(self, concept: Concept, negatives: Sequence[Picture]) -> list[tuple[Picture, bool]]:
        """What a concept is told from, and whether each is a picture of its category: those come
        first, then pictures of other concepts and ``negatives`` in random order."""
        database = cast(Database, self.database)  # photos() has refused otherwise
        alike: list[Picture] = []
        others: list[Picture] = list(negatives)
        for other in database.concepts().values():
            if other.name != concept.name:
                same = bool(concept.category) and other.category == concept.category
                files = (database.image_path(image) for image in other.images)
                (alike if same else others).extend(files)
        rng = random.Random(f"{self.settings.seed}/{concept.name}")
        for of in (alike, others):
            rng.shuffle(of)
        return [*((file, True) for file in alike), *((file, False) for file in others)]

    @property
    def encoder(self) -> Encoder:
        """The heads' encoder, loaded when it is first needed.

        Raises:
            InputError: there is none of that name.
        """
        if self._encoder is None:
            try:
                self._encoder = load_encoder(self.settings.encoder)
            except EncoderError as error:
                raise InputError(f"encoder of the heads: {error}") from None
        return self._encoder

    # ---- queries ----

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """See :meth:`concepts.methods.protocol.Method.recognize`: what the heads say."""
        self._need([name for _, name in pairs])
        found = self._heads([(image, [name]) for image, name in pairs])
        return [p[name] for p, (_, name) in zip(found, pairs, strict=True)]

    def reply(
        self,
        queries: Sequence[Query],
        max_new_tokens: int,
        wants_box: bool = False,
        temperature: float = 0.0,
    ) -> list[Reply]:
        """See :meth:`concepts.methods.protocol.Method.reply`. Whether a known concept is in the
        image is answered by its head."""
        rows, evidence = self.rows(queries)
        said: list[Reply | None] = [None] * len(queries)
        for i, (query, of) in enumerate(zip(queries, evidence, strict=True)):
            if query.task == OCT and (p := self._asked(query, of)) is not None:
                text = "yes" if p >= self.settings.threshold else "no"
                said[i] = Reply(query.id, text, 1, None, of)
        seed = zlib.crc32("\n".join(query.id for query in queries).encode())
        for batch in self._batches(queries, evidence, [r is None for r in said]):
            asked = [rows[i] for i in batch]
            frames: Sequence[list[float] | None] = [None] * len(asked)
            if wants_box:
                model, processor = self.load()
                frames = box_frames(model, processor, asked, self.box_convention)
            vectors = [self._vectors(queries[i], evidence[i]) for i in batch]
            texts = self._call(complete, vectors, asked, max_new_tokens, temperature, seed)
            for i, frame, (text, n) in zip(batch, frames, texts, strict=True):
                said[i] = Reply(queries[i].id, text, n, frame, evidence[i])
        return [reply for reply in said if reply is not None]

    def likelihoods(self, queries: Sequence[Query]) -> list[list]:
        """See :meth:`concepts.methods.protocol.Method.likelihoods`."""
        rows, evidence = self.rows(queries)
        found: list[list | None] = [None] * len(queries)
        for i, (query, of) in enumerate(zip(queries, evidence, strict=True)):
            if query.task == OCT and (p := self._asked(query, of)) is not None:
                found[i] = [p]
        for batch in self._batches(queries, evidence, [of is None for of in found]):
            vectors = [self._vectors(queries[i], evidence[i]) for i in batch]
            if queries[0].options:
                for i, of in zip(batch, vectors, strict=True):
                    options = queries[i].options
                    found[i] = self._call(
                        option_log_likelihoods, [of] * len(options), rows[i], options
                    )
                continue
            asked = [rows[i] for i in batch]
            p = self._call(yes_probabilities, vectors, asked, batch_size=len(asked))
            for i, of in zip(batch, p, strict=True):
                found[i] = [of]
        return [of for of in found if of is not None]

    def locate(self, pairs: Sequence[tuple[Picture, str]]) -> list[Box | None]:
        """See :meth:`concepts.methods.protocol.Method.locate`: the policy's own question for a box,
        with the concept's vector whatever its head says."""
        self._need([name for _, name in pairs])
        found: list[Box | None] = []
        for start in range(0, len(pairs), self.batch_size):
            part = pairs[start : start + self.batch_size]
            rows = [
                {
                    "prompt": conversation(random.Random(0), VLT, [], [], about=name),
                    "images": [self._sized(self._opened(image))],
                }
                for image, name in part
            ]
            model, processor = self.load()
            frames = box_frames(model, processor, rows, self.box_convention)
            vectors = [self._stacked([name], CAPTION) for _, name in part]
            texts = self._call(complete, vectors, rows, LOCATE_TOKENS)
            found += [
                inside(cast(Box | None, one_box(answer_part(text))), frame)
                for (text, _), frame in zip(texts, frames, strict=True)
            ]
        return found

    @property
    def least(self) -> float:
        """That from which a head switches its concept on."""
        return self.settings.threshold

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The queries without pictures and words of concepts, and what the heads say. Of concepts
        that are handed over only those are looked for; otherwise all that are known are."""
        self._refresh()
        queries = [replace(query, image=self._opened(query.image)) for query in queries]
        used = self._evidence(queries)
        rows = []
        for query, evidence in zip(queries, used, strict=True):
            there, shown = [one.name for one in evidence if one.used], []
            if self.settings.shows == "reference":
                shown = [self._shown(query, name) for name in there]
            if there and query.image is not None:
                query = replace(query, image=self._sized(cast(Image.Image, query.image)))
            row = self.row(query, shown)
            if self.settings.shows == "vector" and query.task == ICT:
                said = names_written(query.text, there)
                new = [name for name in there if name not in said]
                row["prompt"] = saying_who(row["prompt"], new)
            rows.append(row)
        return rows, used

    def _sized(self, image: Image.Image) -> Image.Image:
        """A picture as its vector was learned with; as it is, where no vectors are shown."""
        vector = self.settings.shows == "vector"
        return at_side(image, self.settings.vector.side) if vector else image

    def row(self, query: Query, references: Sequence[Reference]) -> dict:
        """``prompt`` and ``images`` that ask a query; a conversation that a benchmark has written
        already loses the concepts that it introduces, and keeps those in ``references``."""
        if query.prompt is not None:
            return {
                "prompt": _asking(query, references),
                "images": [*(r.image for r in references), *_images(query)],
            }
        bare = replace(query, references=tuple(references))
        return super().row(bare, references)

    def _evidence(self, queries: Sequence[Query]) -> list[tuple[Evidence, ...]]:
        """Per query what the heads say, the surest first."""
        named = []
        for query in queries:
            names = list(self._learned)
            if query.references is not None:
                names = [r.name for r in query.references if r.name in self._learned]
            named.append(names if query.image is not None else [])
        looked = [i for i, names in enumerate(named) if names]
        asked = [(cast(Picture, queries[i].image), named[i]) for i in looked]
        heads = self._heads(asked) if asked else []
        found: list[tuple[Evidence, ...]] = [()] * len(queries)
        for i, p in zip(looked, heads, strict=True):
            of = [Evidence(n, p=p[n], used=p[n] >= self.settings.threshold) for n in p]
            found[i] = tuple(sorted(of, key=lambda one: -(one.p or 0)))
        return found

    def _shown(self, query: Query, name: str) -> Reference:
        for reference in query.references or ():
            if reference.name == name:
                return reference
        reference = self.reference(name)
        return replace(reference, image=self._opened(reference.image))

    def _asked(self, query: Query, evidence: Sequence[Evidence]) -> float | None:
        """p of the one known concept that a yes/no question names; ``None`` where it names none, or
        several."""
        p = {one.name: one.p for one in evidence}
        named = names_written(query.text, list(p))
        return p[named.pop()] if len(named) == 1 else None

    def _heads(self, asked: Sequence[tuple[Picture, Sequence[str]]]) -> list[dict[str, float]]:
        """For each of N images p of each concept that is named with it."""
        images = [opened(picture) for picture, _ in asked]
        linear = any("weight" in self._learned[name] for _, names in asked for name in names)
        features = None
        if linear:
            how = Augmentation()  # of which the first view, the image itself, knows nothing
            features = view_features(self.encoder, images, 1, how)[:, 0]
        found: list[dict[str, float]] = []
        for i, (_, names) in enumerate(asked):
            p, faces = {}, None
            for name in names:
                learned = self._learned[name]
                if "faces" in learned:
                    faces = face_descriptors(images[i]) if faces is None else faces
                    p[name] = face_probability(faces, learned["faces"].numpy())
                elif features is not None:
                    head = Head(learned["weight"].numpy(), learned["bias"].numpy())
                    p[name] = float(head.probability(features[i]))
            found.append(p)
        return found

    def _batches(
        self, queries: Sequence[Query], evidence: Sequence[Sequence[Evidence]], wanted: list[bool]
    ) -> list[list[int]]:
        """Places of the wanted queries: those that get no vector are asked together, as an
        untouched policy would be, and so are those that get some."""
        plain, with_vectors = [], []
        for i, (query, of) in enumerate(zip(queries, evidence, strict=True)):
            if wanted[i]:
                (with_vectors if len(self._vectors(query, of)) else plain).append(i)
        return [batch for batch in (plain, with_vectors) if batch]

    def _call(self, ask, vectors: Sequence[Tensor], *args, **kwargs):
        """``ask(model, processor, ...)`` with vectors behind the images of its rows."""
        model, processor = self.load()
        if not any(len(of) for of in vectors):
            return ask(model, processor, *args, **kwargs)
        with vectors_behind_image(model, processor, vectors) as placing:
            return ask(model, placing, *args, **kwargs)

    def _vectors(self, query: Query, evidence: Sequence[Evidence]) -> Tensor:
        """(k, D): a vector of each concept that was switched on."""
        if self.settings.shows != "vector":
            return torch.zeros(0, 0)
        which = CAPTION if query.task in (ICT, VLT) else QUESTION
        return self._stacked([one.name for one in evidence if one.used], which)

    def _stacked(self, names: Sequence[str], which: str) -> Tensor:
        known, control = list(self._learned), self.settings.control
        if control == "other":
            names = [known[(known.index(name) + 1) % len(known)] for name in names]
        rows = [
            learned.get(which, learned.get(CAPTION))
            for learned in (self._learned[name] for name in names)
        ]
        rows = [row for row in rows if row is not None]
        if control == "random":
            drawn = torch.Generator().manual_seed(known.index(names[0]) if names else 0)
            rows = [torch.randn(row.shape, generator=drawn) for row in rows]
        return torch.stack(rows) if rows and control != "no_vector" else torch.zeros(0, 0)


def _asking(query: Query, references: Sequence[Reference]) -> list[dict]:
    """A conversation of a benchmark's with some of the references that it introduces: each is a
    picture and the words behind it."""
    kept = {reference.name for reference in references}
    introduced = iter(query.references or ())
    last = query.prompt[-1] if query.prompt else {"role": "user", "content": []}
    pictures = [part for part in last["content"] if part["type"] == "image"]
    content, keeps, left = [], True, len(pictures)
    for part in last["content"]:
        if part["type"] == "image":
            left -= 1
            reference = next(introduced, None) if left or query.image is None else None
            keeps = reference is None or reference.name in kept
        if keeps:
            content.append(part)
    return [*(query.prompt or [])[:-1], {**last, "content": content}]


def _images(query: Query) -> list:
    return [] if query.image is None else [query.image]
