"""The evaluation loop: ask every system every question of a benchmark, then score all replies.

    answer     each system in turn: sets of questions -> replies, kept as JSON lines
    score      replies of all systems -> metrics with intervals, paired differences, samples
    write      evaluation.json, .md, .html, gallery.json, columns.json

A run that was killed resumes from the kept replies; with ``score_only`` nothing is asked at all.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from accelerate import PartialState
from PIL import Image

from benchmarks.captions.scores import METRICS, CaptionSettings, caption_scores, corpus_bleu
from benchmarks.harness.benchmark import IMAGE_CHUNK, SHOWN, Benchmark, Question, contract_row
from benchmarks.harness.predictions import (
    keep_likelihoods,
    likelihood_path,
    predict,
    query_digest,
    read_replies,
    seconds_per_query,
)
from benchmarks.harness.samples import sample
from benchmarks.harness.systems import folder_name, parse_systems
from benchmarks.harness.table import cost_table, markdown, side_by_side, tabulate
from benchmarks.harness.teaching import (
    concepts_of,
    learned_digest,
    read_costs,
    refuse_unlearnable,
    teach,
)
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.retrieval import retrieval_metrics
from benchmarks.report.evaluation_page import evaluation_page
from concepts.methods.finding import ReferenceFinder, RetrievalSettings
from concepts.methods.in_context import InContext
from concepts.methods.prompting import without_references
from concepts.methods.protocol import Method, Query, Reply
from concepts.methods.registry import method_class
from concepts.methods.systems import System, open_method, policy_loader, system_fingerprint
from data_gen.files.errors import InputError
from data_gen.files.files import (
    alone_in,
    refuse_no_folder,
    refuse_other_json,
    write_text,
)
from data_gen.images.photos import PhotoError
from data_gen.rows import RowError, check_row

LEARNED = "learned.json"
"""In a system's folder of replies: what learning each concept cost."""


@dataclass(kw_only=True)
class EvaluateSettings:
    """What to measure, on which systems, and where to write. A benchmark adds its own settings."""

    benchmark: str = field(
        default="toybox",
        metadata={
            "help": "toybox, methods, naming, recognition, multiple_choice, localization, "
            "mined_negatives."
        },
    )
    policy: list[str] = field(
        default_factory=list,
        metadata={
            "help": "PATH or LABEL=PATH of a model, LoRA adapter or hub id; once for each. Systems "
            "after the first are compared with it."
        },
    )
    system: list[str] = field(
        default_factory=list,
        metadata={
            "help": "LABEL=FILE of a YAML file with policy, method, database, retrieval, settings "
            "(configs/methods); once for each."
        },
    )
    retrieval: RetrievalSettings | None = field(
        default=None,
        metadata={
            "help": "How the systems of --policy find references where a benchmark has a database: "
            "encoder, regions, k; null: references are handed over."
        },
    )
    systems: dict[str, dict] = field(
        default_factory=dict,
        metadata={
            "help": "LABEL: a system's values, laid over those of its file, if it names one: "
            "{file: configs/methods/yollava.yaml, settings: {control: random}}."
        },
    )
    out: str = field(
        default="", metadata={"help": "Output directory; default: runs/evaluation/<benchmark>."}
    )
    draws: int = field(
        default=1,
        metadata={
            "help": "How often the benchmark is drawn, each time other questions, and other toys "
            "where it has a user's; tables pool all draws."
        },
    )
    once: list[str] = field(
        default_factory=list,
        metadata={"help": "Labels of systems that are asked in the first draw alone."},
    )
    limit: int | None = field(default=None, metadata={"help": "The first so many questions."})
    score_only: bool = field(
        default=False, metadata={"help": "Score the replies under `out`; load no policy."}
    )
    max_new_tokens: dict[str, int] = field(
        default_factory=dict,
        metadata={
            "help": "Where completions of a set are cut, in tokens; the benchmark's own by default."
        },
    )
    batch_size: int = field(default=64, metadata={"help": "Questions per call of the model."})
    captions: CaptionSettings = field(
        default_factory=CaptionSettings,
        metadata={"help": "Further scores of captions; see benchmarks/captions/scores.py."},
    )
    shown: int | None = field(
        default=None,
        metadata={
            "help": "Samples of each set in evaluation.html, with their images; default: a few."
        },
    )
    resamples: int = field(default=2000, metadata={"help": "Bootstrap resamples."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1 ... or auto."})
    box_convention: str | None = field(
        default=None, metadata={"help": "pixels, thousand or unit; default: the family's."}
    )
    attn_implementation: str | None = field(default=None, metadata={"help": "As in transformers."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the model."})

    def __post_init__(self):
        self.out = self.out or f"runs/evaluation/{self.benchmark}"
        refuse_no_folder(self.out, "out")
        if self.shown is not None and self.shown < 0:
            raise InputError(f"shown is {self.shown}; it must be a number of samples")
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}; it must be 1 or more")
        if self.limit is not None and self.limit < 1:
            raise InputError("limit must be 1 or more; an empty benchmark scores nothing")


class Times:
    """Where an evaluation's time goes: seconds since it began, and for each system those of its
    session (loading, preparing queries, writing) and of the model's ``generate`` calls alone.

    Of several processes each has its own; the first one's are reported.
    """

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.session: dict[str, float] = {}
        self.generate: dict[str, float] = {}

    def timed(self, call: Callable, label: str) -> Callable:
        """``call``, whose seconds count as generating of the system ``label``."""

        def counted(*args, **kwargs):
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.generate[label] = self.generate.get(label, 0.0) + time.perf_counter() - start

        return counted

    @contextmanager
    def session_of(self, label: str) -> Iterator[None]:
        """Time spent inside counts as the system's session."""
        start = time.perf_counter()
        yield
        self.session[label] = self.session.get(label, 0.0) + time.perf_counter() - start

    def to_json(self) -> dict:
        """``all`` until now, ``systems`` and ``generate`` by label; replies that were read back
        took no time to generate."""
        return {
            "all": round(time.perf_counter() - self.begun, 2),
            **{
                part: {label: round(s, 2) for label, s in of.items()}
                for part, of in (("systems", self.session), ("generate", self.generate))
            },
        }


def systems_of(settings: EvaluateSettings) -> list[System]:
    """The systems that are measured; checking them takes no time, unlike drawing questions.

    Raises:
        InputError: one that cannot be used.
    """
    return parse_systems(
        settings.policy,
        settings.system,
        settings.retrieval,
        inline=settings.systems,
        check=not settings.score_only,
    )


def evaluate(
    settings: EvaluateSettings, benchmark: Benchmark, systems: Sequence[System] | None = None
) -> dict | None:
    """Ask every system every question, score, and write the files of the result.

    Args:
        settings: what to measure.
        benchmark: its sets are built already.
        systems: some of those of the settings; default: all of them.

    Returns:
        What evaluation.json holds; ``None`` in processes but the first, which only help with the
        replies.

    Raises:
        InputError: a system, a setting or a set that cannot be used, before weights load where that
            is possible; or another evaluation writes to ``out``.
    """
    times = Times()
    systems = systems_of(settings) if systems is None else systems
    _check(settings, benchmark, systems)
    _announce(settings, benchmark, systems)
    first = PartialState().is_main_process
    with alone_in(Path(settings.out), "give another --out") if first else nullcontext():
        if not settings.score_only:
            for system in systems:
                with times.session_of(system.label):
                    answer(system, benchmark, settings, times)
        if not first:
            return None
        result, samples, text = score(systems, benchmark, settings, times)
        return write(Path(settings.out), result, samples, text)


def answer(system: System, benchmark: Benchmark, settings: EvaluateSettings, times: Times) -> None:
    """Ask one system every question and keep its replies below ``out``/predictions."""
    asked = opened_method(system, benchmark, settings, times)
    folder = replies_folder(system, settings)
    fingerprint = _fingerprint(system, benchmark, settings)
    if asked.database is not None:
        teach(asked, system, asked.database, folder / LEARNED, benchmark.negatives())
        fingerprint += f"-{learned_digest(asked, asked.database)}"
    for name, questions in benchmark.sets.items():
        size = len(questions) if benchmark.in_memory else IMAGE_CHUNK
        for first in range(0, len(questions), max(1, size)):
            queries = []
            for question in questions[first : first + size]:
                try:
                    queries.append(_open(asked, benchmark, system, name, question))
                except PhotoError as reason:
                    benchmark.skipped.add(f"image that does not open: {reason}", question.id)
                except RowError as error:
                    benchmark.skipped.add(error.kind, question.id)
            if not queries:
                continue
            title = f"{system.label}: {name}" + (
                "" if benchmark.in_memory else f" {first + 1}-{first + len(queries)}"
            )
            path = folder / f"{name}.jsonl"
            predict(
                asked,
                queries,
                path,
                fingerprint=fingerprint,
                max_new_tokens=_limit(name, benchmark, settings),
                batch_size=settings.batch_size,
                wants_box=name in benchmark.box_sets,
                temperature=benchmark.temperature,
                title=title,
            )
            if benchmark.asks_likelihood(name):
                keep_likelihoods(
                    asked,
                    queries,
                    likelihood_path(path),
                    fingerprint=fingerprint,
                    batch_size=settings.batch_size,
                )


def score(
    systems: Sequence[System],
    benchmark: Benchmark,
    settings: EvaluateSettings,
    times: Times,
) -> tuple[dict, list[dict], str]:
    """Kept replies of all systems as evaluation.json, gallery.json and evaluation.md."""
    metrics: dict[str, dict[str, Metric]] = {system.label: {} for system in systems}
    replies: dict[str, dict[str, list[tuple[Question, Reply]]]] = {s.label: {} for s in systems}
    likelihoods: dict[str, dict[str, list]] = {s.label: {} for s in systems}
    makers: dict[str, set[str]] = {system.label: set() for system in systems}
    counts: dict[str, int] = {}
    scored: dict[str, tuple[list[Question], dict[str, dict[str, Reply]]]] = {}
    for name, questions in benchmark.sets.items():
        read = {
            s.label: read_replies(
                replies_folder(s, settings) / f"{name}.jsonl",
                [_query(s, benchmark, name, q) for q in questions] if benchmark.in_memory else (),
            )
            for s in systems
        }
        answers = {
            label: _scorable(found, name, benchmark) for label, (found, _, _) in read.items()
        }
        asked = _answered(questions, answers, name, benchmark)
        counts[name] = len(asked)
        # Scored for all systems or for none.
        known = benchmark.asks_likelihood(name) and all(
            q.id in found for _, found, _ in read.values() for q in asked
        )
        for label, (_, found, made_by) in read.items():
            makers[label] |= made_by
            replies[label][name] = [(q, answers[label][q.id]) for q in asked]
            if known:
                likelihoods[label][name] = [found[q.id] for q in asked]
        scored[name] = asked, answers
    for label in metrics:
        metrics[label] = dict(benchmark.score(replies[label], likelihoods[label]))
        for name in benchmark.retrieval_sets if any(s.retrieval for s in systems) else ():
            if name in replies[label]:
                asked = replies[label][name]
                found = retrieval_metrics([q.names for q, _ in asked], [r for _, r in asked])
                metrics[label] |= {f"{name}/{key}": metric for key, metric in found.items()}
    samples = []
    for name in {**benchmark.shown, **scored}:  # in the order in which they are to be looked at
        if name in scored:
            asked, answers = scored[name]
            samples += _samples(name, asked, answers, systems, benchmark, settings)
    corpus = _add_caption_scores(metrics, replies, systems, benchmark, settings)
    metrics = {label: _by_set(of) for label, of in metrics.items()}
    table = tabulate(metrics, benchmark.titles, benchmark.headlines, resamples=settings.resamples)
    result = {
        "benchmark": benchmark.name,
        **benchmark.describe(),
        "counts": counts,
        "resamples": settings.resamples,
        "settings": asdict(benchmark.settings),
        "max_new_tokens": {n: _limit(n, benchmark, settings) for n in benchmark.sets},
        "dtype": settings.dtype,
        "captions": asdict(settings.captions),
        "skipped": benchmark.skipped.to_json(),
        "systems": [{**asdict(s), "made_from": sorted(makers[s.label])} for s in systems],
        "learned": {
            s.label: costs
            for s in systems
            if (costs := read_costs(replies_folder(s, settings) / LEARNED))
        },
        "seconds_per_query": {
            s.label: seconds_per_query(
                [replies_folder(s, settings) / f"{name}.jsonl" for name in benchmark.sets],
                makers[s.label],
            )
            for s in systems
        },
        "versions": {name: version(name) for name in ("byname", "torch", "transformers")},
        "seconds": times.to_json(),
        **table,
    }
    if corpus:
        result["corpus_bleu"] = corpus
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    write_columns(Path(settings.out), metrics)
    parts = tables(result, benchmark)
    if corpus:
        parts.append(corpus_line(corpus))
    parts.append(benchmark.skipped.line())
    return result, samples, "\n".join(parts).rstrip() + "\n"


def tables(result: dict, benchmark: Benchmark) -> list[str]:
    """The tables of evaluation.md: systems side by side, what they cost, all metrics."""
    parts = []
    if columns := {head: k for head, k in benchmark.columns.items() if k in result["metrics"]}:
        parts.append(side_by_side(result, columns))
    if result["learned"]:
        parts.append(cost_table(result))
    return [*parts, markdown(result)]


def write_columns(out: Path, metrics: dict[str, dict[str, Metric]]) -> None:
    """Write columns.json: system label -> metric key -> ratios, each ``[tops, bottoms]``."""
    rows = {
        label: {
            key: [[list(top), list(bottom)] for top, bottom in metric] for key, metric in of.items()
        }
        for label, of in metrics.items()
    }
    write_text(out / "columns.json", json.dumps(rows))


def write(out: Path, result: dict, samples: list[dict], text: str) -> dict:
    """Write the files of a result, and return it."""
    out.mkdir(parents=True, exist_ok=True)
    # First: that it is there says whose the others are.
    write_text(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "gallery.json", json.dumps(samples, ensure_ascii=False))
    write_text(out / "evaluation.md", text)
    write_text(out / "evaluation.html", evaluation_page(out.resolve().name, result, samples))
    return result


def printed(result: dict) -> str:
    """What a program prints of a result: the headlines, and the scores of captions that were asked
    for."""
    asked = {m for score in result["captions"]["scores"] for m in METRICS.get(score, (score,))}
    further = [key for key in result["metrics"] if key.partition("/")[2] in asked]
    corpus = result.get("corpus_bleu")
    return markdown(result, [*result["headlines"], *further]) + (
        corpus_line(corpus) if corpus else ""
    )


def corpus_line(corpus: dict[str, float]) -> str:
    """BLEU-4 over all captions of each system, as a line."""
    found = ", ".join(f"{label} {100 * value:.1f}" for label, value in corpus.items())
    return f"BLEU-4 over all captions: {found}.\n"


def opened_method(
    system: System, benchmark: Benchmark, settings: EvaluateSettings, times: Times
) -> Method:
    """The system, ready to be asked; its weights load with the first question."""
    finder = None
    if system.retrieval is not None and benchmark.owned:
        finder = _finder(benchmark, system.retrieval)
    load = policy_loader(
        system.path,
        dtype=settings.dtype,
        device=settings.device,
        trust_remote_code=settings.trust_remote_code,
        attn_implementation=settings.attn_implementation,
        timed=lambda call: times.timed(call, system.label),
    )
    database, learned = concepts_of(system, benchmark, Path(settings.out))
    return open_method(
        system,
        load,
        benchmark.write,
        finder=finder,
        database=database,
        learned=learned,
        size=benchmark.size,
        side=benchmark.side,
        batch_size=settings.batch_size,
        box_convention=settings.box_convention,
    )


def replies_folder(system: System, settings: EvaluateSettings) -> Path:
    """Where a system's replies are kept."""
    return Path(settings.out) / "predictions" / folder_name(system.label)


def _finder(benchmark: Benchmark, retrieval: RetrievalSettings) -> ReferenceFinder:
    """The finder, shared by all systems with the same retrieval settings."""
    kept = benchmark.finders
    key = repr(retrieval)
    if key not in kept:
        categories = dict.fromkeys(c.category for c, _ in benchmark.concepts() if c.category)
        kept[key] = ReferenceFinder(benchmark.owned, retrieval, benchmark.skipped, list(categories))
    return kept[key]


def _query(system: System, benchmark: Benchmark, name: str, question: Question) -> Query:
    """What the system is given of a question of the set ``name``: references only where it does not
    find them itself."""
    retrieves = system.retrieval is not None and name in benchmark.retrieval_sets
    return replace(question.query, references=None) if retrieves else question.query


def _open(
    asked: Method, benchmark: Benchmark, system: System, name: str, question: Question
) -> Query:
    question = benchmark.open(question)
    opened = asked.open(_query(system, benchmark, name, question))
    if opened.references is not None and not benchmark.in_memory:
        # The question as it is written for everybody; what a method makes of it is its own affair.
        check_row(
            contract_row(question, Method.row(asked, opened, opened.references)), question.source
        )
    return opened


def refuse_other_evaluation(out: Path, benchmark: str) -> None:
    """Refuse to write over what is no evaluation of this benchmark."""
    file = out / "evaluation.json"
    refuse_other_json(file, {"benchmark", "systems"}, ("evaluation.md", "evaluation.html"))
    held = json.loads(file.read_bytes())["benchmark"] if file.exists() else benchmark
    if held != benchmark:
        raise InputError(f"{out} holds an evaluation of {held}; give another --out")


def _check(settings: EvaluateSettings, benchmark: Benchmark, systems: Sequence[System]) -> None:
    refuse_other_evaluation(Path(settings.out), benchmark.name)
    captions = settings.captions
    if (captions.scores or captions.references) and not benchmark.caption_sets:
        raise InputError(f"captions.scores: {benchmark.name} asks for no captions; remove them")
    if captions.references:
        # Now, not after the last reply: it may be refused.
        benchmark.truths = benchmark.true_captions(captions.references)
    for name in settings.max_new_tokens:
        if name not in {*benchmark.limits, *benchmark.sets}:
            raise InputError(
                f"max_new_tokens: {benchmark.name} has no {name!r}; it has "
                f"{', '.join(benchmark.limits)}"
            )
    # A system's file may say how it finds references; it is shown them where they are handed over.
    if not benchmark.retrieval_sets and settings.retrieval is not None:
        raise InputError(
            f"retrieval: {benchmark.name} has no database to find references in; remove it"
        )
    if not any(benchmark.sets.values()):
        raise InputError(
            f"{benchmark.name}: no question is left to ask; "
            f"{benchmark.skipped.line() or 'it is empty'}"
        )
    for system in systems:
        refuse_unlearnable(system, benchmark)
    for name, questions in benchmark.sets.items():
        if any(q.references is None for q in questions):
            for system in systems:
                if system.retrieval is None and not method_class(system.method).uses_database:
                    raise InputError(
                        f"set {name} hands no references over; say how {system.label} finds them "
                        f"in `retrieval`, such as {{encoder: toybox_clip}}"
                    )


def _announce(settings: EvaluateSettings, benchmark: Benchmark, systems: Sequence[System]) -> None:
    """Print what will be asked of which systems, once."""
    if not PartialState().is_main_process:
        return
    total = sum(map(len, benchmark.sets.values()))
    print(
        f"{total} questions: " + ", ".join(f"{n} {len(q)}" for n, q in benchmark.sets.items()),
        *filter(None, [benchmark.skipped.line()]),
        *(
            f"policy {s.label}: {s.path}"
            + (f", {s.method}" if s.method != "in_context" else "")
            + (", with retrieval" if s.retrieval else "")
            for s in systems
        ),
        f"output: {settings.out}",
        sep="\n",
        flush=True,
    )


def _limit(name: str, benchmark: Benchmark, settings: EvaluateSettings) -> int:
    limits = {**benchmark.limits, **settings.max_new_tokens}
    return limits.get(name, limits.get(benchmark.group(name), 256))


def _fingerprint(system: System, benchmark: Benchmark, settings: EvaluateSettings) -> str:
    parts = [settings.dtype, settings.box_convention, benchmark.size, benchmark.side]
    if system.retrieval is not None and benchmark.owned:
        # Another database gives other references.
        owned = Query("owned", "", references=tuple(benchmark.owned.values()))
        parts.append(query_digest(owned))
    return system_fingerprint(system, *parts)


def _scorable(found: dict[str, Reply], name: str, benchmark: Benchmark) -> dict[str, Reply]:
    if name not in benchmark.box_sets:
        return found
    return {i: reply for i, reply in found.items() if reply.box_frame}  # else it cannot be placed


def _answered(
    questions: Sequence[Question],
    answers: dict[str, dict[str, Reply]],
    name: str,
    benchmark: Benchmark,
) -> list[Question]:
    """The questions of a set that every system has answered; the others are counted."""
    kept = []
    for question in questions:
        silent = [label for label, found in answers.items() if question.id not in found]
        if silent:
            benchmark.skipped.add(
                "question without a prediction", f"{name}: {question.id} of {', '.join(silent)}"
            )
        else:
            kept.append(question)
    if not kept:
        raise InputError(
            f"set {name}: no question has been answered by all systems; do the images "
            f"open, and do the predictions belong to this benchmark?"
        )
    return kept


def _samples(name, asked, answers, systems, benchmark: Benchmark, settings) -> list[dict]:
    most = benchmark.shown.get(name, 0 if benchmark.shown else SHOWN)
    most = most if settings.shown is None else settings.shown
    found = []
    for question in asked[:most]:
        try:
            row = _row(question, answers[systems[0].label][question.id], benchmark)
        except PhotoError:
            continue
        found.append(
            sample(
                {**row, "profiles": question.truth.get("profiles")},
                benchmark.titles[name],
                {label: of[question.id] for label, of in answers.items()},
                question.text,
            )
        )
    return found


def _row(question: Question, reply: Reply, benchmark: Benchmark) -> dict:
    """The question as the first system was asked, with the references that it retrieved."""
    asked = InContext(list, benchmark.write, size=benchmark.size, side=benchmark.side)
    question = _as_asked(benchmark.open(question), reply, benchmark)
    opened = asked.open(question.query)
    return contract_row(question, asked.row(opened, opened.references or ()))


def _as_asked(question: Question, reply: Reply, benchmark: Benchmark) -> Question:
    """The question with its prompt, and with the references that were retrieved for the reply, or
    with those of its own that the system kept."""
    own = question.references or ()
    if own and [one.name for one in reply.concepts] == [one.name for one in own]:
        gone = {j for j, one in enumerate(reply.concepts) if not one.used}
        question = replace(
            question,
            references=tuple(one for j, one in enumerate(own) if j not in gone),
            prompt=question.prompt and without_references(question.prompt, gone),
        )
    elif question.references is None or reply.concepts:
        wrong = [one.name for one in reply.concepts if one.name not in question.names]
        question = replace(
            question,
            references=tuple(
                benchmark.owned[one.name]
                for one in reply.concepts
                if one.used and one.name in benchmark.owned
            ),
            absent_names=tuple(dict.fromkeys([*question.absent_names, *wrong])),
        )
    return (
        question
        if question.prompt
        else replace(question, prompt=benchmark.write(question.query, question.references or ()))
    )


def _add_caption_scores(
    metrics, replies, systems, benchmark: Benchmark, settings
) -> dict[str, float]:
    """The further scores of captions of every set that holds captions; corpus BLEU if asked."""
    captions: CaptionSettings = settings.captions
    corpus: dict[str, float] = {}
    for name in benchmark.caption_sets if captions.scores else ():
        if name not in benchmark.sets:
            continue
        first = replies[systems[0].label][name]
        asked = [question for question, _ in first]
        said = {label: [reply for _, reply in of[name]] for label, of in replies.items()}
        true = [benchmark.truths.get(question.id, ()) for question in asked]

        def images(first=first) -> Iterator[tuple[int, list[Image.Image]]]:
            for i, (question, reply) in enumerate(first):
                try:
                    yield i, _row(question, reply, benchmark)["images"]
                except PhotoError as reason:
                    benchmark.skipped.add(f"image that does not open: {reason}", question.id)

        found = caption_scores(
            said,
            captions,
            images=images,
            truths=true,
            infos=[
                benchmark.info(_as_asked(question, reply, benchmark)) for question, reply in first
            ],
        )
        for label, of in found.items():
            metrics[label] |= {f"{name}/{key}": metric for key, metric in of.items()}
        if "bleu" in captions.scores:
            corpus = corpus_bleu(said, true)
    return corpus


def _by_set(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics of a set together, sets in the order in which they were scored."""
    sets = list(dict.fromkeys(key.partition("/")[0] for key in metrics))
    return dict(sorted(metrics.items(), key=lambda item: sets.index(item[0].partition("/")[0])))
