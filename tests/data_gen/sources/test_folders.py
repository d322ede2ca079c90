"""Rows from folders of photos: what they claim is true, balanced, and the same every time."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw

from data_gen.files.errors import SourceError
from data_gen.images.photos import open_photo
from data_gen.rows import ICT, OCT, check_row, encode_image, read_rows, write_rows
from data_gen.sources.folders import folder_rows
from data_gen.sources.photo_folders import is_heldout, names_of_fold, read_classes
from tests.places import ROOT, SHARED

DREAMBOOTH = SHARED / "dreambooth"
needs_dreambooth = pytest.mark.skipif(
    not DREAMBOOTH.is_dir(), reason="no ../shared/data/dreambooth here"
)


def folder_of(root: Path, subjects: dict[str, int], classes: dict[str, str] | None = None) -> Path:
    """Photos of one disc each: its colour is the subject, its place differs."""
    for name, photos in subjects.items():
        (root / name).mkdir(parents=True)
        colour = tuple(hashlib.sha256(name.encode()).digest()[:3])
        for p in range(photos):
            image = Image.new("RGB", (48, 36), "white")
            place = (4 + 5 * p, 6, 22 + 5 * p, 24)
            ImageDraw.Draw(image).ellipse(place, fill=colour)
            image.save(root / name / f"{p}.png")
    if classes:
        (root / "classes.csv").write_text("".join(f"{k},{v}\n" for k, v in classes.items()))
    return root


@pytest.fixture
def toys(tmp_path) -> Path:
    return folder_of(
        tmp_path / "toys",
        {"cat": 3, "cat2": 2, "dog": 3, "dog2": 2, "mug": 2},
        {"cat": "cat", "cat2": "cat", "dog": "dog", "dog2": "dog", "mug": "mug"},
    )


def rows_of(root, n_oct=0, n_ict=0, report=lambda line: None, **settings) -> list[dict]:
    settings = {"seed": 0, "size": 32, "counts": {OCT: n_oct, ICT: n_ict}} | settings
    return list(folder_rows(root, report=report, **settings))


def fingerprint(rows: list[dict]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr({**row, "images": [encode_image(i) for i in row["images"]]}).encode())
    return digest.hexdigest()


def photos_in(row: dict) -> tuple[list[str], list[str]]:
    """Photos of the references and of the query, as the row's source tells."""
    shown, seen = row["source"].removeprefix("folders: ").split(" | ")
    seen = seen.removeprefix("composite ").split(" (")[0]
    return shown.split(" + "), seen.split(" + ")


def subject(photo: str) -> str:
    return photo.split("/")[0]


# ---- object consistency ----


def test_object_rows_tell_the_truth(toys):
    for row in rows_of(toys, n_oct=80):
        check_row(row)
        (reference,), (query,) = photos_in(row)
        assert row["answer"] == ("yes" if subject(reference) == subject(query) else "no")
        assert reference != query
        hard = subject(reference)[:3] == subject(query)[:3]
        how = "same" if row["answer"] == "yes" else "hard" if hard else "other"
        assert row["source"].endswith(f"({how})")
        assert [i.tobytes() for i in row["images"]] == [
            open_photo(toys / name, 32).tobytes() for name in (reference, query)
        ]


def test_yes_and_no_are_balanced_for_every_subject(toys):
    rows = rows_of(toys, 100)
    asked = Counter((subject(photos_in(row)[0][0]), row["answer"]) for row in rows)
    for name in ("cat", "cat2", "dog", "dog2", "mug"):
        assert asked[name, "yes"] == asked[name, "no"] > 0


def test_who_is_in_the_query_does_not_tell_whether_it_is_the_one_asked_for(tmp_path):
    """Classes with several subjects have more hard negatives to give; they stand for no, and for
    yes, more often than a subject that is like no other."""
    classes = {name: "cat" if name < "d" else name for name in "abcdefgh"}
    root = folder_of(tmp_path, dict.fromkeys(classes, 2), classes)
    rows = rows_of(root, 4000, size=16, hard_share=1.0)
    seen = Counter((subject(photos_in(row)[1][0]), row["answer"]) for row in rows)
    for name in classes:
        yes, no = seen[name, "yes"], seen[name, "no"]
        assert abs(yes - no) < 4 * (yes + no) ** 0.5, name


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_hard_share_counts_those_who_have_no_classmate(toys, share):
    rows = [row for row in rows_of(toys, 800, hard_share=share) if row["answer"] == "no"]
    assert sum("(hard)" in row["source"] for row in rows) / 400 == pytest.approx(share, abs=0.08)


# ---- identity consistency ----


def test_identity_rows_tell_the_truth(toys):
    for row in rows_of(toys, n_ict=200):
        check_row(row)
        shown, seen = photos_in(row)
        seen_subjects = {subject(photo) for photo in seen}
        assert not set(shown) & set(seen), "a reference is never the query itself"
        assert len({subject(p) for p in shown}) == len(shown) == len(row["images"]) - 1
        text = "".join(part["text"] or "|" for part in row["prompt"][0]["content"]).split("|")[1:]
        for photo, said in zip(shown, text, strict=False):
            here = subject(photo) in seen_subjects
            assert sum(f"<{n}>" in said for n in row["names" if here else "absent_names"]) == 1


def test_shares_of_identity_rows(toys):
    weights = {"reference_counts": {1: 1, 2: 1}, "subject_counts": {1: 1, 2: 1}}
    rows = rows_of(toys, n_ict=800, size=16, absent_share=0.4, **weights)
    nobody = {(r, t): [] for r in (1, 2) for t in (1, 2)}
    for row in rows:
        shown, seen = photos_in(row)
        k = len({subject(p) for p in shown} & {subject(p) for p in seen})
        assert k == len(row["names"])
        assert row["source"].endswith(f"(R{len(shown)} T{len(seen)} K{k})")
        nobody[len(shown), len(seen)].append(k == 0)
    for absent in nobody.values():
        assert sum(absent) / len(absent) == pytest.approx(0.4, abs=0.12)
    assert {len(row["names"]) for row in rows} == {0, 1, 2}

    plain = rows_of(toys, n_ict=50, combinations={"1/1/1": 1})
    assert all(len(r["names"]) == 1 and not r["absent_names"] for r in plain)


def test_info_tells_the_class(toys):
    texts = [
        part["text"]
        for row in rows_of(toys, 40, info_share=1.0)
        for part in row["prompt"][0]["content"][1:2]
    ]
    assert all("It is a " in text for text in texts)
    assert not any("It is" in str(row["prompt"]) for row in rows_of(toys, 40, 40, info_share=0.0))


def test_a_subject_is_not_called_by_the_word_for_a_class(tmp_path):
    root = folder_of(tmp_path, {"a": 2, "b": 2}, {"a": "mario", "b": "Lisa doll"})
    names = {
        row["names"][0] for row in rows_of(root, n_ict=4000, size=16, combinations={"1/1/1": 1})
    }
    assert len(names) > 800 and not names & {"Mario", "Lisa"}


# ---- the same every time ----


def test_same_seed_same_bytes_and_another_seed_others(toys):
    def made(seed):
        rows = rows_of(toys, 12, 12, seed=seed)
        return [row.pop("id") for row in rows], fingerprint(rows)

    assert made(0) == made(0)
    ids, content = zip(made(0), made(1), strict=True)
    assert not set(ids[0]) & set(ids[1]) and content[0] != content[1]


def test_asking_for_more_rows_changes_no_other(toys):
    few = {row["id"]: fingerprint([row]) for row in rows_of(toys, 6, 4)}
    many = {row["id"]: fingerprint([row]) for row in rows_of(toys, 20, 30)}
    assert len(many) == 50 and few.items() <= many.items()


def test_tasks_come_interleaved(toys):
    tasks = [row["task"] for row in rows_of(toys, 20, 10)]
    assert tasks[:15].count(OCT) == 10


# ---- held-out subjects ----


def test_held_out_subjects_are_disjoint_and_stay_where_they_are(tmp_path):
    names = {f"toy{i}": 2 for i in range(40)}
    root = folder_of(tmp_path, names)
    sides = {}
    for split in ("train", "heldout"):
        rows = rows_of(root, 60, 60, split=split, heldout_share=0.3)
        sides[split] = {subject(p) for row in rows for ps in photos_in(row) for p in ps}
        assert all(row["id"].startswith(f"folders-{split}-") for row in rows)
    assert not sides["train"] & sides["heldout"]
    assert sides["heldout"] == {name for name in names if is_heldout(name, 0.3)}
    # A larger share moves subjects in one direction only.
    assert all(is_heldout(name, 0.5) for name in sides["heldout"])


def test_each_subject_is_held_out_by_one_of_the_folds(tmp_path):
    names = [f"toy{i}" for i in range(11)]
    folds = [names_of_fold(names, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(map(len, folds)) == [3, 4, 4] and sorted(set().union(*folds)) == sorted(names)
    assert folds[0] == names_of_fold(names[::-1], "1/3")
    root = folder_of(tmp_path, {name: 2 for name in names})
    for split, here in (("heldout", folds[1]), ("train", folds[0] | folds[2])):
        rows = rows_of(root, 60, 60, split=split, heldout_fold="2/3")
        assert {subject(p) for row in rows for ps in photos_in(row) for p in ps} == here


@pytest.mark.parametrize("fold", ["0/3", "4/3", "1/1", "1/0", "third", "1/12", 0.3, "-1/3", "1/3 "])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(SourceError, match="heldout_fold"):
        names_of_fold([f"toy{i}" for i in range(11)], fold)


# ---- classes ----


@pytest.mark.parametrize(
    "text",
    [
        "cat2,cat\nmug, coffee mug\n",
        "subject,class\ncat2;cat\nmug;coffee mug",
        "\ufeff# mine\ncat2: cat  # the grey one\nmug: 'coffee mug'\n\n",
        "cat2\tcat\nmug\tcoffee mug\n",
        "cat2 cat\nmug coffee mug\n",
        "Classes\n\nsubject_name,class\ncat2,cat\nmug,coffee mug\n\nPrompts\n'a {0} {1}',\n",
    ],
)
def test_classes_files(tmp_path, text):
    (tmp_path / "classes").write_text(text, encoding="utf-8")
    assert read_classes(tmp_path / "classes") == {"cat2": "cat", "mug": "coffee mug"}


def test_a_classes_file_that_is_not_understood_is_refused_with_its_line(tmp_path):
    (tmp_path / "classes.txt").write_text("cat2,cat\nmug\n")
    with pytest.raises(SourceError, match=r"classes.txt, line 2: expected 'subject,class'"):
        read_classes(tmp_path / "classes.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "nowhere.txt"):
        with pytest.raises(SourceError, match=f"{name} cannot be read"):
            read_classes(tmp_path / name)


def test_accented_folders_match_however_the_disk_spells_them(tmp_path):
    root = folder_of(tmp_path, {"cafe\u0301": 2, "mug": 2}, {"Caf\u00e9": "place", "mug": "mug"})
    lines = []
    rows_of(root, 2, report=lines.append)
    assert "without a class" not in lines[0]


# ---- what is skipped is reported in one line; what is impossible in one sentence ----


def test_one_summary_line_names_what_is_skipped(toys):
    good = (toys / "dog/0.png").read_bytes()
    for i in range(4):
        (toys / f"dog/half{i}.png").write_bytes(good[: 100 + i])
    (toys / "dog/notes.txt").write_text("good dog")
    (toys / "loop").symlink_to(toys / "loop")
    folder_of(toys, {"owl": 1})
    lines = []
    made = folder_rows(toys, seed=0, size=32, counts={OCT: 40, ICT: 40}, report=lines.append)
    rows = list(made)
    assert lines == [
        "folders: 13 photos of 6 subjects used; skipped 6: "
        "4 truncated (dog/half0.png, dog/half1.png, dog/half2.png, …), "
        "1 not an image (dog/notes.txt), 1 symlink loop (loop); "
        "1 with one photo, not used (owl); "
        "1 without a class in classes.csv (owl)"
    ]
    assert made.skipped.counts == {"truncated": 4, "not an image": 1, "symlink loop": 1}
    # Seen in one photo, it could never be the answer yes, and would tell that it is no.
    assert not any("owl" in row["source"] for row in rows)


@pytest.mark.parametrize(
    ("subjects", "settings", "sentence"),
    [
        ({}, {}, "holds no usable photo; give a directory with photos at <subject>/"),
        ({"cat": 0}, {}, r"holds no usable photo.*1 empty folder \(cat\)"),
        ({"cat": 1, "dog": 1}, {}, "2 subjects, none with two photos; two are needed"),
        ({"cat": 2, "dog": 1}, {}, "2 subjects, 1 with two photos; two are needed"),
        ({"cat": 2, "dog": 2}, {"combinations": {"1/2/2": 1}}, "1/2/2 is impossible"),
        ({"cat": 2, "dog": 2}, {"subject_counts": {0: 1}}, "subject_counts: 0 is not from 1 to 4"),
        (
            {"cat": 2, "dog": 2},
            {"counts": {"visual_localization": 1}},
            "visual_localization.: take",
        ),
        ({"cat": 2, "dog": 2}, {"counts": {OCT: -1}}, "must be a whole number from 0"),
        ({"cat": 2, "dog": 2}, {"absent_share": 1.5}, "absent_share must be from 0 to 1"),
        ({"cat": 2, "dog": 2}, {"size": 0}, "size must be a whole number of pixels from 16"),
        ({"cat": 2, "dog": 2}, {"side": "left"}, "side must be 'long' or 'short'"),
        ({"cat": 2, "dog": 2}, {"split": "test"}, "split must be 'train', 'heldout' or null"),
        ({"cat": 2, "dog": 2}, {"split": "heldout", "heldout_share": 0}, "'heldout': 0 subjects"),
        ({"cat": 2, "dog": 2}, {"classes": "nowhere.csv"}, "nowhere.csv cannot be read"),
    ],
)
def test_what_is_impossible_is_refused_at_the_call(tmp_path, subjects, settings, sentence):
    folder_of(tmp_path, subjects)
    settings = {"seed": 0, "counts": {OCT: 4}, "report": lambda line: None} | settings
    with pytest.raises(SourceError, match=sentence):
        folder_rows(tmp_path, **settings)  # no row was asked for yet
    with pytest.raises(SourceError, match="is no directory"):
        folder_rows(tmp_path / "elsewhere", seed=0, counts={OCT: 4})


@pytest.mark.parametrize("photos", [{"a": 2, "b": 2}, {"a": 2, "b": 2, "c": 2}])
def test_few_subjects_are_enough(tmp_path, photos):
    rows = rows_of(folder_of(tmp_path, photos), 20, 200)
    for row in rows:
        check_row(row)
    captions = [row for row in rows if row["task"] == ICT]
    assert len(captions) == 200 and 60 < sum(not row["names"] for row in captions) < 140


def test_a_photo_that_vanishes_meanwhile_is_named(toys):
    rows = folder_rows(toys, seed=0, counts={OCT: 50}, report=lambda line: None)
    for photo in (toys / "cat").iterdir():
        photo.unlink()
    with pytest.raises(SourceError, match=r"cat/\d.png: broken link, though it was fine"):
        list(rows)


# ---- the real thing ----


@pytest.mark.shared
@needs_dreambooth
def test_dreambooth(tmp_path):
    lines = []
    rows = folder_rows(DREAMBOOTH, seed=0, counts={OCT: 60, ICT: 60}, size=64, report=lines.append)
    manifest = write_rows(
        rows, tmp_path / "rows", seed=0, generator="folders", skipped=rows.skipped
    )
    assert lines == [
        "folders: 158 photos of 30 subjects used; skipped 1: 1 beside the subjects' "
        "folders (references_and_licenses.txt)"
    ]
    assert manifest["tasks"] == {ICT: 60, OCT: 60}
    back = read_rows(tmp_path / "rows")
    assert Counter(back["answer"]) == {"yes": 30, "no": 30, None: 60}
    assert all(max(image.size) <= 64 for row in back for image in row["images"])


@pytest.mark.shared
@needs_dreambooth
def test_the_config_holds_arguments_of_folder_rows():
    settings = yaml.safe_load((ROOT / "configs/data/folders.yaml").read_text())
    assert settings.pop("generator") == "folders" and settings.pop("out")
    assert sum(settings["counts"].values()) == 1000
    row = next(iter(folder_rows(DREAMBOOTH, **settings, report=lambda line: None)))
    check_row(row)
