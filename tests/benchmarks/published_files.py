"""Small files in the published formats, with images drawn on the spot."""

import json

from PIL import Image

from benchmarks.harness.benchmark import contract_row
from concepts.methods.in_context import InContext
from data_gen.images.photos import PhotoError
from data_gen.rows import check_row

NAMES = ("bo", "mia", "kim", "tom")


def make_files(root):
    """A database of four concepts and queries, questions and images around it; returns the
    folder and the roots of its images."""
    images = root / "images"
    (images / "db").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (40, 30), (60 * i, 200 - 40 * i, 90)).save(images / "db" / f"{name}.png")
        for k in range(2):
            Image.new("RGB", (40, 30), (60 * i, 99, 50 * k)).save(images / f"{name}_{k}.png")
    (images / "torn.png").write_bytes((images / "bo_0.png").read_bytes()[:60])
    concepts = {
        f"<{n}>": {
            "name": n,
            "image": f"./data/db/{n}.png",
            "info": f"<{n}> is round.",
            "category": "toy",
        }
        for n in NAMES
    }
    save(root / "database.json", {"concept_dict": concepts, "path_to_concept": {}})
    save(
        root / "queries.json", {f"./data/{n}_{k}.png": [f"<{n}>"] for n in NAMES for k in range(2)}
    )
    save(
        root / "recognition.json",
        [recognition(f"./data/{n}_0.png", asked, asked == n) for n in NAMES for asked in NAMES],
    )
    save(
        root / "visual.json",
        {n: {f"./data/{n}_0.png": choice("What is sks?", "options")} for n in NAMES},
    )
    save(root / "text.json", {n: {"0": choice("Is sks's hat round?", "option")} for n in NAMES})
    return root, {"./data": str(images)}


def recognition(image, asked, there):
    return {
        "image": image,
        "question": f"<image>\nIs <{asked}> in this image?",
        "concept": asked,
        "type": "positive" if there else "negative",
        "correct_answer": there,
    }


def choice(question, key):
    return {"question": question, key: {"A": "A cat", "B": "A dog"}, "correct_answer": "A"}


def save(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def asked(benchmark, questions, size=512):
    """Questions as a policy is asked: rows with opened images, and what could not be opened."""
    system, found, unopened = InContext(list, benchmark.write, size=size), [], []
    for question in questions:
        try:
            query = system.open(question.query)
        except PhotoError as error:
            unopened.append(str(error))
            continue
        found.append(contract_row(question, system.row(query, query.references or ())))
        check_row(found[-1], question.source)
    return found, unopened
