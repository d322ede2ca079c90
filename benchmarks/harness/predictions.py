"""Generate a system's replies and keep them as JSON lines: runs resume and can be scored again.

``<set>.jsonl`` holds a line for each reply, ``<set>.likelihoods.jsonl`` what the system's
probabilities said, ``<set>.seconds.jsonl`` how long each batch took. A line counts only as long as
the query, the system and the length limit are what they were. Processes started by ``accelerate
launch`` share the batches, not the queries of a batch: replies are the same however many there are.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState
from PIL import Image
from tqdm.auto import tqdm

from concepts.methods.protocol import Evidence, Method, Query, Reply, busy_seconds
from data_gen.files.errors import InputError
from data_gen.files.files import kept_lines
from rl.policy.generation import length_batches


def predict(
    system: Method,
    queries: Sequence[Query],
    path: str | Path,
    *,
    fingerprint: str,
    max_new_tokens: int,
    batch_size: int,
    wants_box: bool = False,
    temperature: float = 0.0,
    title: str = "",
) -> list[Reply]:
    """Replies to N queries, kept at ``path`` after each batch; all of them in every process.

    Processes but the first write to ``<set>.part<rank>.jsonl`` next to it, which the first merges.

    Args:
        system: asked for what ``path`` does not hold yet.
        queries: with their images opened (:meth:`Method.open`).
        fingerprint: of the system: policy, precision, retrieval.
        max_new_tokens: where a completion is cut.
        batch_size: queries per call of the model.
        wants_box: record the frame in which the policy writes boxes.
        temperature: of sampling; 0 is greedy. A run that was killed samples what is left anew.
        title: of the progress bar.
    """
    path, processes = Path(path), PartialState()
    main, rank, world = (
        processes.is_main_process,
        processes.process_index,
        processes.num_processes,
    )
    mine = path if main else path.with_name(f"{path.stem}.part{rank}.jsonl")
    drawn = [temperature] if temperature else []
    keys = {
        query.id: [fingerprint, query_digest(query), max_new_tokens, *drawn] for query in queries
    }
    if main:
        _join_parts(path)  # of a run that was killed
    processes.wait_for_everyone()
    lines = {reply.id: (reply, key) for reply, key in _read(path)}
    kept = {i: reply for i, (reply, key) in lines.items() if keys.get(i) == key}
    todo = [query for query in queries if query.id not in kept]
    processes.wait_for_everyone()  # all have read before one writes
    if todo:
        began = busy_seconds()
        path.parent.mkdir(parents=True, exist_ok=True)
        if main:
            for query in todo:
                lines.pop(query.id, None)
            # Drops torn and outdated lines; lines of queries that are not asked now are kept.
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            _append(partial, lines.values())
            partial.replace(path)
        batches = length_batches([system.query_size(query) for query in todo], batch_size)
        with tqdm(
            total=len(queries), initial=len(kept), desc=title, unit="query", disable=not main
        ) as bar:
            for batch in batches[rank::world]:
                asked = [todo[i] for i in batch]
                new = system.reply(asked, max_new_tokens, wants_box, temperature)
                _append(mine, [(reply, keys[reply.id]) for reply in new])
                if main:
                    spent, began = busy_seconds() - began, busy_seconds()
                    took = {"queries": len(new), "seconds": spent, "made_from": fingerprint}
                    with seconds_path(path).open("a", encoding="utf-8") as file:
                        file.write(json.dumps(took) + "\n")
                kept.update({reply.id: reply for reply in new})
                bar.update(len(new) * world)
    processes.wait_for_everyone()
    if world > 1 and todo:
        if main:
            _join_parts(path)
        processes.wait_for_everyone()
        kept = {reply.id: reply for reply, key in _read(path) if keys.get(reply.id) == key}
    return [kept[query.id] for query in queries]


def keep_likelihoods(
    system: Method,
    queries: Sequence[Query],
    path: Path,
    *,
    fingerprint: str,
    batch_size: int,
) -> None:
    """Ask the system's probabilities and keep them at ``path``; by the first process alone."""
    if not PartialState().is_main_process:
        return
    keys = {query.id: [fingerprint, query_digest(query)] for query in queries}
    kept = {
        entry["id"]
        for entry in kept_lines(path)
        if isinstance(entry.get("id"), str) and keys.get(entry["id"]) == entry.get("made_from")
    }
    todo = [query for query in queries if query.id not in kept]
    for k in range(0, len(todo), batch_size):
        batch = todo[k : k + batch_size]
        found = system.likelihoods(batch)
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn)
            for query, numbers in zip(batch, found, strict=True):
                file.write(
                    json.dumps({"id": query.id, "scores": numbers, "made_from": keys[query.id]})
                    + "\n"
                )


def read_replies(
    path: Path, queries: Sequence[Query] = ()
) -> tuple[dict[str, Reply], dict[str, list], set[str]]:
    """Kept replies and likelihoods of a set by query id, and the fingerprints of who made them.

    Args:
        path: of the set's replies.
        queries: where given, replies to other queries under the same ids do not count.

    Raises:
        InputError: there is no reply.
    """
    replies, makers = {}, set()
    digests = {query.id: query_digest(query) for query in queries}
    for reply, key in _read(path):
        if digests and digests.get(reply.id) not in key[1:2]:
            continue
        replies[reply.id] = reply
        makers.add(str(key[0]) if key else "")
    if not replies:
        raise InputError(f"{path} holds no predictions; run without --score_only first")
    # The last line of an id counts.
    likelihoods = {
        entry["id"]: entry["scores"]
        for entry in kept_lines(likelihood_path(path))
        if isinstance(entry.get("id"), str) and "scores" in entry
    }
    return replies, likelihoods, makers


def likelihood_path(path: Path) -> Path:
    """Where the probabilities of a set's replies are kept."""
    return path.with_suffix(".likelihoods.jsonl")


def seconds_path(path: Path) -> Path:
    """Where it is kept how long a set's replies took."""
    return path.with_suffix(".seconds.jsonl")


def seconds_per_query(paths: Iterable[Path], makers: Iterable[str]) -> float | None:
    """Mean time of a query, over the sets of a system (:func:`concepts.methods.protocol
    .busy_seconds`; of several processes the first one's); ``None`` where none is known.

    Args:
        paths: of the sets' replies.
        makers: fingerprints of the system that replied; what others took does not count.
    """
    took = [line for path in paths for line in kept_lines(seconds_path(path))]
    took = [line for line in took if line.get("made_from") in set(makers)]
    queries = sum(line["queries"] for line in took)
    return sum(line["seconds"] for line in took) / queries if queries else None


def query_digest(query: Query) -> str:
    """Twelve hex digits that change with what a query gives to a system."""
    references = query.references
    given = [
        query.task,
        query.text,
        query.prompt,
        query.options,
        query.k,
        None if references is None else [[r.name, r.info] for r in references],
    ]
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for image in (*(r.image for r in references or ()), query.image):
        if isinstance(image, Image.Image):
            digest.update(repr((image.size, image.mode)).encode() + image.tobytes())
        elif image is not None:
            digest.update(Path(image).read_bytes())
    return digest.hexdigest()[:12]


def _join_parts(path: Path) -> None:
    """Append the replies of the other processes to those of the first."""
    for part in sorted(path.parent.glob(f"{path.stem}.part*.jsonl")):
        _append(path, _read(part))
        part.unlink()


def _read(path: Path) -> Iterator[tuple[Reply, list]]:
    """Kept replies and what they were made from; lines that are no reply are ignored, so that they
    are asked again."""
    for entry in kept_lines(path):
        try:
            key = entry.pop("made_from")
            concepts = tuple(Evidence(**one) for one in entry.pop("concepts", ()))
            reply = Reply(**entry, concepts=concepts)
            texts = isinstance(reply.id, str) and isinstance(reply.text, str)
            if isinstance(key, list) and texts and isinstance(reply.n_tokens, int):
                yield reply, key
        except (KeyError, TypeError):
            continue


def _append(path: Path, lines: Iterable[tuple[Reply, list]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for reply, key in lines:
            file.write(json.dumps({**asdict(reply), "made_from": key}) + "\n")
