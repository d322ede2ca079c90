"""A published benchmark from its files to its scores: what a config's ``settings`` ask for.

Sets are the benchmark itself (``naming``, ``recognition`` or ``choices``) and, behind an
underscore, its controls (``naming_absent``); see :mod:`benchmarks.published.controls`. ``localization`` has
no questions in files; its settings are these, its rows :mod:`benchmarks.published.localization`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.predictions import Prediction
from benchmarks.harness.question import Benchmark, Question
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.multiple_choice import choice_metrics, likelihood_metrics
from benchmarks.metrics.recognition import probability_metrics, recognition_metrics
from benchmarks.metrics.repic_naming import VARIANTS
from benchmarks.published.controls import TITLES as CONTROL_TITLES
from benchmarks.published.controls import control_sets
from benchmarks.published.loading import dreambooth_questions, owned_references
from benchmarks.published.multiple_choice import choice_questions
from benchmarks.published.naming import naming_questions, naming_scores
from benchmarks.published.recognition import recognition_questions
from concepts.methods.in_context import finding, found_questions
from concepts.methods.prompting import load_words
from concepts.methods.verification import SET as VERIFIED
from concepts.methods.verification import to_verify
from data_gen.files.settings import BenchmarkError, check_settings
from data_gen.files.skipped import LeftOut, leave
from data_gen.rows import ICT, OCT

KINDS = {"naming": "naming", "recognition": "recognition", "choices": "multiple choice",
         "localization": "localization"}
"""Kind of benchmark -> what tables call it."""

_QUESTIONS = ("naming", "recognition", "choices")

HEADLINES = {
    "naming": ("naming/f1", "naming/published_f1", "naming_found/f1", f"{VERIFIED}/f1"),
    "recognition": ("recognition/accuracy", "recognition/auroc"),
    "choices": ("choices/choice", "choices/likelihood"),
    "localization": ("localization/iou50", "localization/mean_iou"),
}
"""Kind of benchmark -> metrics that are told first, those of them that there are."""

LIMITS = {"naming": 256, "recognition": 16, "choices": 16, "localization": 48}
"""Kind -> where completions are cut, in tokens, unless a config says otherwise."""


@dataclass(frozen=True)
class PublishedSettings:
    """Where a published benchmark lies and how it is asked.

    Args:
        path: its file (queries, questions, boxes), or a DreamBooth folder.
        images: folder of all pictures, or beginning of published paths -> folder.
        database: ``database.json`` with the references; without it none are shown.
        reference_pictures: ``.../{name}/00.jpg``: where references lie instead.
        retrieval: naming: also ask with references found among all concepts; how, see
            :mod:`concepts.methods.in_context`.
        prompts: template file; our own by default.
        size, side: pictures are shrunk until this side (``long`` or ``short``) has ``size`` pixels.
        controls: see :mod:`benchmarks.published.controls`.
        variant: of the published naming metric, ``2`` or ``n``.
        likelihood: also score by the policy's probabilities (recognition, choices).
        visual: choices: whether there are pictures; by default the file tells.
        rows: localization: how many to make from the boxes.
        boxes: localization: further settings of :func:`data_gen.sources.detection.detection_maker`, such
            as ``references``, ``box_format`` (``xywh`` or ``xyxy``) and ``categories``.
        seed: of controls, of the order of options, of rows made from boxes.
    """

    path: str
    images: str | dict | None = None
    database: str | None = None
    reference_pictures: str | None = None
    retrieval: dict | None = None
    prompts: str | None = None
    size: int = 512
    side: str = "long"
    controls: tuple[str, ...] = ()
    variant: str = "n"
    likelihood: bool = False
    visual: bool | None = None
    rows: int = 500
    boxes: dict = field(default_factory=dict)
    seed: int = 0

    @property
    def roots(self) -> dict[str, str]:
        """``images`` as beginning -> folder."""
        return self.images if isinstance(self.images, dict) else {"": self.images or "."}


def published_settings(given: dict) -> PublishedSettings:
    """A config's ``settings``.

    Raises:
        BenchmarkError: a setting that there is not, is missing, or cannot be.
    """
    check_settings(given, PublishedSettings, "a published benchmark")
    if not given.get("path"):
        raise BenchmarkError("settings.path is missing: the benchmark's file or folder")
    settings = PublishedSettings(**{**given, "controls": tuple(given.get("controls") or ()),
                                    "variant": str(given.get("variant", "n"))})
    if settings.variant not in VARIANTS:
        raise BenchmarkError(f"settings.variant must be one of {', '.join(VARIANTS)}, not "
                             f"{settings.variant!r}")
    if settings.side not in ("long", "short") or not 8 <= settings.size <= 4096:
        raise BenchmarkError("settings.size must be 8-4096 pixels of settings.side, long or short")
    if settings.retrieval:
        finding(settings.retrieval)
    return settings


def build_sets(
    kind: str, settings: PublishedSettings, limit: int | None = None, *,
    found_in: Path | None = None, score_only: bool = False,
) -> tuple[dict[str, list[Question]], LeftOut]:
    """The questions of the benchmark, the same with references found, and its controls; and what is
    left out.

    Args:
        kind: one of :data:`KINDS`, but for localization.
        settings: where its files are.
        limit: the first so many questions, and the controls of these; all when ``None``.
        found_in: file of the references found, where ``settings.retrieval`` asks for them; without
            one there is no such set.
        score_only: take them from there, and open no picture.

    Raises:
        BenchmarkError: nothing usable is left.
    """
    if kind not in _QUESTIONS:
        raise BenchmarkError(f"questions are of {', '.join(_QUESTIONS)}, not {kind!r}")
    if limit is not None and limit < 1:
        raise BenchmarkError("limit must be 1 or more; an empty benchmark scores nothing")
    if settings.retrieval and kind != "naming":
        raise BenchmarkError("settings.retrieval: references are found for naming only")
    found = _load(kind, settings)
    sets = {kind: found.questions[:limit]}
    if settings.retrieval and found_in:
        how = finding(settings.retrieval)
        owned = owned_references(found.questions, settings.database, settings.roots,
                                 settings.reference_pictures, found.left_out)
        sets["naming_found"] = found_questions(sets[kind], owned, how, found_in, found.left_out,
                                               score_only=score_only)
        if how.verify is not None:
            sets[VERIFIED] = to_verify(sets["naming_found"])
    # All questions lend pictures and references to the controls of the first few.
    for name, of in control_sets(found.questions, settings.controls, settings.seed).items():
        ids = {f"{question.id}-{name}" for question in sets[kind]}
        sets[f"{kind}_{name}"] = [question for question in of if question.id in ids]
    for name in settings.controls:
        if not sets.get(f"{kind}_{name}"):
            sets.pop(f"{kind}_{name}", None)
            leave(found.left_out, "control without any question", name)
    return sets, found.left_out


def titles(kind: str) -> dict[str, str]:
    """Set -> what tables call it."""
    return {kind: KINDS[kind], "naming_found": "naming, references found",
            VERIFIED: "naming, references found and verified",
            **{f"{kind}_{name}": f"{KINDS[kind]}, {title}"
               for name, title in CONTROL_TITLES.items()}}


def columns(kind: str) -> dict[str, str]:
    """Head -> metric key of the table that shows the score beside its controls."""
    by = {"naming": "names_given", "recognition": "accuracy", "choices": "choice"}[kind]
    heads = {"naming": {"F1": "naming/f1", "F1, as published": "naming/published_f1",
                        "writes a given name": "naming/names_given",
                        "F1, references found": "naming_found/f1",
                        "… of them found": "naming_found/retrieved",
                        "F1, and verified": f"{VERIFIED}/f1"},
             "recognition": {"balanced accuracy": "recognition/accuracy"},
             "choices": {"right": "choices/choice"}}[kind]
    controls = {"naming": ("absent", "wrong", "none"), "recognition": ("wrong", "none"),
                "choices": ("none", "blind")}[kind]
    return heads | {
        f"… {CONTROL_TITLES[name]}": f"{kind}_{name}/"
        # Under a wrong reference every answer is due to be no.
        + ("negative" if (kind, name) == ("recognition", "wrong") else by) for name in controls}


def score(
    name: str,
    questions: Sequence[Question],
    predictions: Sequence[Prediction],
    likelihoods: Sequence[list] | None,
    settings: PublishedSettings,
) -> dict[str, Metric]:
    """The scores of one set.

    Args:
        name: of the set.
        questions: N of them.
        predictions: what the policy wrote, in the same order.
        likelihoods: for each question p(yes), or [log-likelihood, tokens] of each option.
        settings: of the benchmark.
    """
    kind, _, control = name.partition("_")
    texts = [prediction.text for prediction in predictions]
    if kind == "naming":
        found = naming_scores(questions, predictions, control, settings)
    elif kind == "recognition":
        truths = [question.answer for question in questions]
        found = recognition_metrics(texts, truths)
        if likelihoods is not None:
            found |= probability_metrics([p for p, in likelihoods], truths)
        if control == "wrong":
            found = {key: found[key] for key in ("negative", "answered")}
    else:
        correct = [question.correct for question in questions]
        found = choice_metrics(texts, [question.options for question in questions], correct)
        if likelihoods is not None:
            found |= likelihood_metrics(likelihoods, correct)
    return {f"{name}/{key}": metric for key, metric in found.items()}


def _load(kind: str, settings: PublishedSettings) -> Benchmark:
    words = load_words(settings.prompts)
    where = {"pictures": settings.reference_pictures}
    files = (settings.path, settings.database, settings.roots)
    if kind == "choices":
        return choice_questions(*files, **where, seed=settings.seed, visual=settings.visual)
    if Path(settings.path).is_dir():
        return dreambooth_questions(settings.path, words, ICT if kind == "naming" else OCT)
    if kind == "naming":
        return naming_questions(*files, words, **where)
    return recognition_questions(*files, **where)
