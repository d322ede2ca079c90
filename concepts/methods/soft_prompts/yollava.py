"""Yo'LLaVA: each concept as learned tokens, ``<bo> is <bo/1>...<bo/16>.`` (arXiv 2406.09400).

The input vectors of a concept's tokens and the head's column of its name are learned from a few
photos, some two hundred pictures of other things, half of them alike, and the policy's own words:
captions of the photos, and answers to questions of traits, which are trained without the picture.
The policy itself is not changed. Several concepts can stand in one prompt. The paper's name is one
new token with its brackets; here the brackets stay the policy's own, for it may have learned to
write names between them.

Where paper and released code differ, the paper's reading is the default and the other a setting:
``output_rows`` (the code trains the head's columns of all new tokens), ``train_end`` (its labels
hold no end of answer) and ``captions`` (its script trains no conversation with a picture). That it
seems to leave out each answer's first token is not copied. The paper does not say how a few photos
balance many negatives: they are repeated, as in the code of its successor, unless
``photos_repeated`` is false.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from concepts.concept import Concept, tag_of
from concepts.methods.learned import LearnedStore
from concepts.methods.protocol import (
    Evidence,
    Learned,
    LearnedMethod,
    Picture,
    Query,
    Reply,
    busy_seconds,
)
from concepts.methods.soft_prompts.batches import Batches
from concepts.methods.soft_prompts.examples import (
    Example,
    ask,
    captions,
    personal_prompt,
    recognition,
    traits,
    words_of,
)
from concepts.methods.soft_prompts.learning import Descent, Progress, descend, split
from concepts.methods.soft_prompts.negatives import Chosen, choose_negatives
from concepts.methods.soft_prompts.phrasings import load_phrasings
from concepts.methods.soft_prompts.start import first_vectors, picture_features
from concepts.methods.soft_prompts.tokens import SoftTokens, frozen
from concepts.methods.verification import REASON_TOKENS, presence_row, reasoned_probabilities
from concepts.retrieval import Found
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import Box
from data_gen.images.encoders import EncoderError, load_encoder
from data_gen.images.montage import composite
from data_gen.images.photos import PhotoError, at_side
from data_gen.rows import OCT, VLT
from data_gen.tasks.prompts import conversation
from data_gen.tasks.questions import Reference
from rewards.names import names_written
from rewards.parsing import answer_part, yes_or_no
from rl.policy.generation import generate, length_batches, row_size
from rl.policy.likelihood import yes_probabilities


@dataclass(frozen=True)
class YoLLaVASettings:
    """How concepts are learned and asked about."""

    tokens: int = field(default=16, metadata={"help": "Learned tokens of a concept, k."})
    photos: int = field(
        default=0, metadata={"help": "Photos of a concept learned from; 0: all. The paper takes 5."}
    )
    random_negatives: int = field(
        default=100, metadata={"help": "Pictures of anything else that a concept is told from."}
    )
    hard_negatives: int = field(
        default=100, metadata={"help": "Pictures most like its photos that it is told from."}
    )
    encoder: str = field(
        default="imagenet", metadata={"help": "By what pictures are alike, as in data_gen."}
    )
    near_duplicate: float = field(
        default=1.0,
        metadata={"help": "Cosine from which on a picture may show the concept: not a negative."},
    )
    photos_repeated: bool = field(
        default=True, metadata={"help": "Repeat the photos until they balance the negatives."}
    )
    traits: bool = field(
        default=True, metadata={"help": "Train questions of traits, without the picture."}
    )
    captions: bool = field(
        default=True,
        metadata={"help": "Train captions of the photos that the policy writes with a reference."},
    )
    phrasings: str = field(
        default="",
        metadata={"help": "YAML file of wordings; empty: ours; toybox: the tiny base's."},
    )
    prompt_place: Literal["user", "system"] = field(
        default="user", metadata={"help": "The turn in which the personal prompt stands."}
    )
    start: Literal["normal", "embeddings", "pictures"] = field(
        default="normal",
        metadata={"help": "Where vectors begin: random as new rows, as the table, or photos."},
    )
    output_rows: Literal["name", "all"] = field(
        default="name", metadata={"help": "Columns of the head that are trained."}
    )
    train_end: bool = field(default=True, metadata={"help": "Train the end of answers."})
    epochs: int = field(default=15, metadata={"help": "Passes over the examples."})
    batch_size: int = field(default=1, metadata={"help": "Examples per optimizer step."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Of AdamW, constant."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    flip: float = field(default=0.5, metadata={"help": "Share of pictures that are mirrored."})
    beside: float = field(
        default=0.0,
        metadata={
            "help": "Share of pictures in recognition beside which a negative is put. From photos "
            "of one thing alone it is learned that another thing in the image means no."
        },
    )
    select_after: int = field(
        default=4, metadata={"help": "Epochs before the first that may be chosen."}
    )
    reasons: int = field(
        default=0,
        metadata={
            "help": "Recognition examples with reasons before the answer, half of them of the "
            "concept: the policy writes them with a photo as a reference, and those that end with "
            "the truth are trained. Above 0, concepts are recognized with reasons, too."
        },
    )
    side: int | None = field(
        default=None,
        metadata={
            "help": "Long side, in pixels, to which pictures are brought in recognition, learned "
            "from or asked about; null: as they are. A concept is known best in one size."
        },
    )
    seed: int = field(default=0, metadata={"help": "Of vectors, phrasings and order."})
    least: float = field(
        default=0.5,
        metadata={"help": "p(yes) from which on a concept that nobody asked about is used."},
    )
    control: Literal["", "no_tokens", "random", "other"] = field(
        default="",
        metadata={
            "help": "What is asked in place of what was learned: nothing, the vectors as they "
            "began, or those of another concept."
        },
    )

    def __post_init__(self):
        for name, least in (("tokens", 0), ("photos", 0), ("random_negatives", 0)):
            _at_least(name, getattr(self, name), least)
        for name in ("hard_negatives", "reasons"):
            _at_least(name, getattr(self, name), 0)
        _at_least("side", 1 if self.side is None else self.side, 1)
        for name in ("epochs", "batch_size"):
            _at_least(name, getattr(self, name), 1)
        for name in ("flip", "beside", "least"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)!r}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, not {self.learning_rate!r}")
        load_phrasings(self.phrasings)


class YoLLaVA(LearnedMethod):
    """A policy that knows concepts by tokens which were learned for each.

    Arguments are those of :class:`concepts.methods.protocol.Method`.
    """

    kind = "yollava"
    Settings = YoLLaVASettings

    def __init__(self, load, write, **common):
        super().__init__(load, write, **common)
        self._policy = self.load
        self.load = self._with_tokens
        self.phrasings = load_phrasings(self.settings.phrasings)
        self._known: tuple[list[str], SoftTokens] | None = None

    @classmethod
    def learned_from(cls, settings: YoLLaVASettings) -> dict:
        """See :meth:`concepts.methods.protocol.Method.learned_from`: all but how concepts are asked
        about afterwards, and the wordings themselves."""
        asked = ("least", "control", "phrasings")
        learned = {key: value for key, value in asdict(settings).items() if key not in asked}
        words = asdict(load_phrasings(settings.phrasings))
        return {**learned, "words": words, "brackets": "the policy's own"}

    # ---- learning ----

    def _learn_new(
        self,
        new: Sequence[tuple[Concept, dict[Path, Image.Image]]],
        negatives: Sequence[Picture],
        progress: bool,
    ) -> Iterator[Learned]:
        """A concept that was interrupted goes on behind its last whole epoch, to the same
        vectors."""
        photos = {concept.name: list(of.values()) for concept, of in new}
        chosen = self._negatives(photos, negatives)
        for concept, _ in new:
            name = concept.name
            yield self._learn(concept, photos[name], negatives, chosen[name], progress)

    @property
    def _most(self) -> int | None:
        return self.settings.photos or None

    def forget(self, names: Sequence[str]) -> None:
        super().forget(names)
        if (unfinished := self._unfinished()) is not None:
            for name in names:
                unfinished.remove(name)

    def _others(self, concept: Concept, pool: Sequence[Picture], chosen: Chosen) -> list:
        """The negatives that open; what does not is counted in a printed line."""
        opened, skipped = [], SkippedItems()
        for i in (*chosen.random, *chosen.hard):
            try:
                opened.append(self._opened(pool[i]))
            except PhotoError as error:
                skipped.add(str(error), str(pool[i]))
        if skipped:
            print(f"negatives of {concept.name!r}: {skipped.line()}", flush=True)
        if skipped and not opened:
            raise InputError(
                f"none of the negatives of {concept.name!r} opens; give a folder of photos"
            )
        return opened

    def _negatives(self, photos: dict, pool: Sequence[Picture]) -> dict[str, Chosen]:
        """Which pictures of the pool each concept is told from."""
        s = self.settings
        if not pool and s.random_negatives + s.hard_negatives:
            raise InputError(
                "Yo'LLaVA tells a concept from other pictures and was given none; give it a folder "
                "of photos that show none of the concepts as negatives"
            )
        try:
            encoder = load_encoder(s.encoder) if s.hard_negatives else None
        except EncoderError as error:
            raise InputError(f"encoder of the hard negatives: {error}") from None
        return choose_negatives(
            photos,
            pool,
            encoder,
            s.random_negatives,
            s.hard_negatives,
            near_duplicate=s.near_duplicate,
            seed=s.seed,
        )

    def _learn(
        self,
        concept: Concept,
        photos: list,
        pool: Sequence[Picture],
        chosen: Chosen,
        progress: bool,
    ) -> Learned:
        s, name, began = self.settings, concept.name, busy_seconds()
        model, processor = self._policy()
        others = self._others(concept, pool, chosen)
        pictures = [self._shown(picture) for picture in (*photos, *others)]
        tokens = SoftTokens(processor, [words_of(name, s.tokens)])
        state, before, unfinished = None, 0.0, self._unfinished()
        if unfinished is not None and (kept := unfinished.load(concept)) is not None:
            state, before = _state(*kept), kept[1]["seconds"]
        with frozen(model):
            examples, exam = self._examples(model, processor, concept, photos, pictures)
            batches = Batches(model, tokens, pictures)
            if state is None:
                features = (
                    [picture_features(model, processor, shown) for shown in pictures[: len(photos)]]
                    if s.start == "pictures"
                    else ()
                )
                begin = first_vectors(model, s.start, s.tokens, s.seed, features)
                if "outputs" in begin:
                    begin["outputs"] = begin["outputs"][: self._written]
                state = Progress(begin)
            bar = tqdm(
                total=s.epochs,
                initial=state.epoch,
                unit="epoch",
                desc=f"learning {name}",
                disable=not progress,
            )

            def done(now: Progress) -> None:
                bar.update()
                told = f", accuracy {now.accuracy:.1%}" if now.best else ""  # not yet measured
                bar.set_postfix_str(f"loss {now.losses[-1]:.3f}{told}")
                if unfinished is not None and now.epoch < s.epochs:
                    spent = before + busy_seconds() - began
                    unfinished.save(concept, *_kept(now, spent))

            with bar, batches.open():
                state = descend(
                    model, tokens, batches, examples, exam, state, self._descent(), done
                )
        inputs, outputs = split(state.best, self._written)
        best = {"inputs": inputs, "outputs": outputs.clone()}
        facts = {
            "seconds": round(before + busy_seconds() - began, 2),
            "n_parameters": sum(value.numel() for value in state.vectors.values()),
            "epoch": state.best_epoch,
            "training_accuracy": state.accuracy,
            "losses": [round(loss, 4) for loss in state.losses],
            "pictures": len(photos) + len(others),
        }
        cost = self._keep(concept, best, facts)
        if unfinished is not None:
            unfinished.remove(name)
        return cost

    def _examples(
        self, model, processor, concept: Concept, photos: list, pictures: list
    ) -> tuple[list[Example], list[tuple[Example, bool]]]:
        """What is trained on, and the questions by which the best epoch is chosen.

        Args:
            pictures: the photos and then the negatives; pairs of them are added.
        """
        s, name = self.settings, concept.name
        personal = personal_prompt(name, s.tokens, self.phrasings)
        shown, others = range(len(photos)), range(len(photos), len(pictures))
        examples = recognition(
            random.Random(f"{s.seed}/phrasings"),
            name,
            personal,
            self.phrasings,
            shown,
            others,
            s.photos_repeated,
            s.prompt_place,
        )
        rng = random.Random(f"{s.seed}/beside")
        examples = [self._beside(rng, example, pictures, others) for example in examples]
        if s.reasons:
            examples += self._reasoned(model, processor, name, personal, photos, pictures, others)
        if s.traits:
            examples += traits(
                model,
                processor,
                concept,
                personal,
                self.phrasings,
                photos,
                s.prompt_place,
                self.batch_size,
            )
        if s.captions:
            written = captions(
                random.Random(f"{s.seed}/captions"),
                model,
                processor,
                name,
                personal,
                photos,
                s.prompt_place,
                self.batch_size,
            )
            # In the photos' own size, as images are described.
            examples += [replace(e, picture=len(pictures) + (e.picture or 0)) for e in written]
            pictures += photos
        question = self.phrasings.recognize.format(name=tag_of(name))
        asked = ask(personal, question, True, s.prompt_place)
        n = len(photos) + len(others)
        return examples, [(Example(asked, "", i), i < len(photos)) for i in range(n)]

    def _reasoned(
        self,
        model,
        processor,
        name: str,
        personal: str,
        photos: list,
        pictures: list,
        others: range,
    ) -> list[Example]:
        """Recognition with reasons that the policy writes, to which a photo is shown as a
        reference; what does not end with the truth is left out, and as much of the other answer."""
        s = self.settings
        rng = random.Random(f"{s.seed}/reasons")
        question = self.phrasings.explain.format(name=tag_of(name))
        asked = ask(personal, question, True, s.prompt_place)
        made, rows = [], []
        for i in range(s.reasons):
            photo, truth = rng.randrange(len(photos)), "no" if i % 2 and others else "yes"
            picture = photo if truth == "yes" else rng.choice(others)
            example = Example(asked, truth, picture, may_flip=False)
            example = self._beside(rng, example, pictures, others)
            # Another photo, where there is one: of the same the reasons would be too easy.
            reference = rng.choice([j for j in range(len(photos)) if j != photo] or [photo])
            shown = pictures[example.picture or 0]
            rows.append(presence_row(shown, name, photos[reference], reasons=True))
            made.append(example)
        texts = generate(
            model, processor, rows, max_new_tokens=REASON_TOKENS, batch_size=self.batch_size
        )
        right: dict[str, list[Example]] = {"yes": [], "no": []}
        for example, (text, _) in zip(made, texts, strict=True):
            if yes_or_no(answer_part(text)) == example.answer:
                right[example.answer].append(replace(example, answer=text.strip()))
        wanted = ("yes", "no") if others else ("yes",)
        least = min(len(right[answer]) for answer in wanted)
        if not least:
            counts = ", ".join(f"{answer} {len(right[answer])}" for answer in wanted)
            print(
                f"reasons of {name!r}: of {s.reasons} that the policy wrote, too few end with the "
                f"truth ({counts}); none is learned from",
                flush=True,
            )
        return [example for of in right.values() for example in of[:least]]

    def _beside(
        self, rng: random.Random, example: Example, pictures: list, others: Sequence[int]
    ) -> Example:
        """The example, or, by chance, the same of a new picture, in which a negative stands before
        or behind the example's own."""
        s = self.settings
        if not s.beside or not others or example.picture is None or rng.random() >= s.beside:
            return example
        pair = [pictures[example.picture], pictures[rng.choice(others)]]
        rng.shuffle(pair)
        pictures.append(composite(pair, self.size, self.side))
        return replace(example, picture=len(pictures) - 1)

    def _descent(self) -> Descent:
        s = self.settings
        return Descent(
            s.epochs,
            s.batch_size,
            s.learning_rate,
            s.weight_decay,
            s.flip,
            s.select_after,
            s.train_end,
            self._written,
            s.seed,
        )

    @property
    def _written(self) -> int:
        """How many tokens of a concept have a column of the head."""
        return 1 if self.settings.output_rows == "name" else 1 + self.settings.tokens

    def _unfinished(self) -> LearnedStore | None:
        """Where concepts lie whose learning is under way."""
        s = self.store
        if s is None:
            return None
        kind = f"{self.kind}.unfinished"
        return LearnedStore(
            s.folder.parent, kind, s.policy, s.settings, root=s.root, names_matter=s.names_matter
        )

    # ---- answering ----

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """See :meth:`concepts.methods.protocol.Method.recognize`: p(yes) as the answer's first
        token, asked with the concept's own personal prompt."""
        self._need([name for _, name in pairs])
        words = self.phrasings.explain if self.settings.reasons else self.phrasings.recognize
        judge = reasoned_probabilities if self.settings.reasons else yes_probabilities
        rows = [
            self._row([name], words.format(name=tag_of(name)), self._shown(image))
            for image, name in pairs
        ]
        found = [0.0] * len(rows)
        if not rows:
            return found
        with self._tokens_in_model() as (model, processor):
            for batch in length_batches([row_size(row) for row in rows], self.batch_size):
                asked = [rows[i] for i in batch]
                p = judge(model, processor, asked, batch_size=len(asked))
                for i, of in zip(batch, p, strict=True):
                    found[i] = of
        return found

    def reply(
        self,
        queries: Sequence[Query],
        max_new_tokens: int,
        wants_box: bool = False,
        temperature: float = 0.0,
    ) -> list[Reply]:
        """See :meth:`concepts.methods.protocol.Method.reply`."""
        with self._tokens_in_model():
            return super().reply(queries, max_new_tokens, wants_box, temperature)

    def likelihoods(self, queries: Sequence[Query]) -> list[list]:
        """See :meth:`concepts.methods.protocol.Method.likelihoods`."""
        with self._tokens_in_model():
            return super().likelihoods(queries)

    def locate(self, pairs: Sequence[tuple[Picture, str]]) -> list[Box | None]:
        """See :meth:`concepts.methods.protocol.Method.locate`: the localization task's question,
        with the personal prompt in place of a reference."""
        self._need([name for _, name in pairs])
        rows = []
        for image, name in pairs:
            turn = conversation(random.Random(0), VLT, [], [], about=name)[0]
            rows.append(self._row([name], turn["content"][-1]["text"], self._opened(image)))
        with self._tokens_in_model():
            return self.boxes(rows)

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The queries with personal prompts in place of pictures of the concepts. Where none are
        handed over, those of a retrieval are used, or else those that the text names or the policy
        recognizes."""
        rows, used = [], []
        for query, evidence in zip(queries, self._evidence(queries), strict=True):
            names = [one.name for one in evidence if one.used]
            self._need(names)
            rows.append(self.row(query, [Reference(name, None) for name in names]))
            used.append(() if query.references is not None else tuple(evidence))
        return rows, used

    def row(self, query: Query, references: Sequence) -> dict:
        """``prompt`` and ``images`` that ask a query with the references' personal prompts."""
        names, image = [r.name for r in references], self._opened(query.image)
        image = self._shown(image) if query.task == OCT else image
        if self.with_reasons(query) and names:
            return self._row(names, self.phrasings.explain.format(name=tag_of(names[0])), image)
        if query.prompt is not None:  # the benchmark's conversation shows pictures of concepts
            return self._row(names, query.text, image)
        prompt = self.write(replace(query, references=()), ())
        return {
            "prompt": self._introduced(prompt, names),
            "images": [] if image is None else [image],
        }

    def with_reasons(self, query: Query) -> bool:
        """The question whether the one concept that is handed over is in the image, where reasons
        were trained."""
        return self.settings.reasons > 0 and query.asks_presence

    def _shown(self, image: Any) -> Any:
        """A picture in which concepts are recognized, in its size."""
        opened = self._opened(image)
        return None if opened is None else at_side(opened, self.settings.side)

    def _evidence(self, queries: Sequence[Query]) -> list[list[Evidence]]:
        """Per query the concepts that may stand in its prompt."""
        found: list[list[Evidence]] = []
        for query in queries:
            if query.references is not None:
                found.append([Evidence(r.name) for r in query.references])
            elif self.finder is not None:
                found.append(self._retrieved(query, self.finder.find(query)))
            else:
                found.append(self._recognized(query))
        return found

    def _retrieved(self, query: Query, retrieved: Sequence[Found]) -> list[Evidence]:
        """What was retrieved; used if it was learned and recognized (``least`` 0: unasked)."""
        self._refresh()
        evidence = [
            Evidence(one.name, one.similarity, used=one.name in self._learned) for one in retrieved
        ]
        if not self.settings.least or query.image is None:
            return evidence
        asked = [one for one in evidence if one.used]
        p = dict(
            zip(asked, self.recognize([(query.image, one.name) for one in asked]), strict=True)
        )
        return [
            replace(one, p=p[one], used=p[one] >= self.settings.least) if one in p else one
            for one in evidence
        ]

    def _recognized(self, query: Query) -> list[Evidence]:
        self._refresh()
        named = names_written(query.text, self._learned)
        if named or query.image is None:
            return [Evidence(name) for name in self._learned if name in named]
        names = list(self._learned)
        p = self.recognize([(query.image, name) for name in names])
        of = [
            Evidence(name, p=p_yes, used=p_yes >= self.settings.least)
            for name, p_yes in zip(names, p, strict=True)
        ]
        return sorted(of, key=lambda one: -(one.p or 0))

    def _row(self, names: Sequence[str], question: str, image: Any) -> dict:
        """``prompt`` and ``images`` of a question with the personal prompts of concepts."""
        prompt = ask(self._personal(names), question, image is not None, self.settings.prompt_place)
        return {"prompt": prompt, "images": [] if image is None else [image]}

    def _introduced(self, prompt: list[dict], names: Sequence[str]) -> list[dict]:
        """A conversation with personal prompts: behind the picture of its last turn, or at the end
        of its system turn."""
        personal, last = self._personal(names), prompt[-1]
        if not personal:
            return prompt
        if self.settings.prompt_place == "system":
            said = [] if prompt[0]["role"] != "system" else prompt[0]["content"]
            system = {"role": "system", "content": [*said, {"type": "text", "text": personal}]}
            return [system, *(turn for turn in prompt if turn["role"] != "system")]
        parts = last["content"]
        at = 1 + max((i for i, part in enumerate(parts) if part["type"] == "image"), default=-1)
        follow = "".join(part["text"] for part in parts[at:])
        told = {"type": "text", "text": f"{personal} {follow}"}
        return [*prompt[:-1], {**last, "content": [*parts[:at], told]}]

    def _personal(self, names: Sequence[str]) -> str:
        tokens = 0 if self.settings.control == "no_tokens" else self.settings.tokens
        return " ".join(filter(None, (personal_prompt(n, tokens, self.phrasings) for n in names)))

    # ---- learned vectors ----

    def _with_tokens(self) -> tuple:
        """The policy, and its processor that reads the tokens of all learned concepts."""
        model, processor = self._policy()
        if self.settings.control == "no_tokens":
            return model, processor
        names = list(self._learned)
        if self._known is None or self._known[0] != names:
            words = [words_of(name, self.settings.tokens) for name in names]
            self._known = names, SoftTokens(processor, words)
        return model, self._known[1].processor

    @contextmanager
    def _tokens_in_model(self) -> Iterator[tuple]:
        """Context in which the policy knows the tokens of all learned concepts; gives it and its
        processor."""
        self._refresh()
        model, processor = self._with_tokens()
        if self._known is None or not self._learned:
            yield model, processor
            return
        vectors = list(self._asked(model).values())
        with torch.no_grad():
            device = model.device
            inputs = [of["inputs"].to(device) for of in vectors]
            outputs = [of["outputs"].to(device) for of in vectors]
        with self._known[1].in_model(model, inputs, outputs):
            yield model, processor

    def _asked(self, model) -> dict[str, dict[str, Tensor]]:
        """The vectors under each name: those learned for it, or a control's."""
        names = list(self._learned)
        if self.settings.control == "other":
            return dict(zip(names, [self._learned[n] for n in (*names[1:], names[0])], strict=True))
        if self.settings.control != "random":
            return self._learned
        how = "embeddings" if self.settings.start == "pictures" else self.settings.start
        drawn = {}
        for i, name in enumerate(names):
            vectors = first_vectors(model, how, self.settings.tokens, self.settings.seed + 1 + i)
            inputs, outputs = split(vectors, self._written)
            drawn[name] = {"inputs": inputs, "outputs": outputs[: self._written]}
        return drawn


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, not {value!r}")


def _kept(now: Progress, seconds: float) -> tuple[dict[str, Tensor], dict]:
    """Tensors and facts from which :func:`_state` makes the same progress again."""
    tensors = {
        f"{part}/{key}": value
        for part in ("vectors", "moments", "best")
        for key, value in getattr(now, part).items()
    }
    numbers = ("epoch", "steps", "accuracy", "best_epoch", "losses")
    return tensors, {"seconds": seconds, **{key: getattr(now, key) for key in numbers}}


def _state(tensors: dict[str, Tensor], facts: dict) -> Progress:
    parts: dict[str, dict[str, Tensor]] = {"vectors": {}, "moments": {}, "best": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition("/")
        parts[part][rest] = value
    numbers = ("epoch", "steps", "accuracy", "best_epoch", "losses")
    return Progress(**parts, **{key: facts[key] for key in numbers})
