"""Listed pictures are found however their names are written, and never at one another's place."""

import unicodedata

import pytest

from data_gen.images.finding import MISSING, SHARED, find_picture, find_pictures, picture_at


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        ("a/0.jpg", "a\\0.jpg"),
        ("a/0.jpg", "..\\images\\a\\0.jpg"),
        ("a/0.jpg", "C:\\Users\\me\\images\\a\\0.jpg"),
        ("0.jpg", "./0.jpg"),
        ("a\\0.jpg", "a\\0.jpg"),  # here it is a letter of the name
        ("Zoé.jpg", nfd("Zoé.jpg")),
        (nfd("Zoé.jpg"), "Zoé.jpg"),
        (nfd("Müller/한국.jpg"), "Müller/한국.jpg"),
        ("IMG_1.JPG", "img_1.jpg"),
        ("Fotos/img_1.jpg", "fotos/IMG_1.JPG"),
        ("my dog 1.jpg", "my%20dog%201.jpg"),
        ("50%20.jpg", "50%20.jpg"),
        ("a/0.jpg", "https://host/data/a/0.jpg?x=1"),
        ("a/0 1.jpg", "/data/local-files/?d=a%2F0%201.jpg"),
        ("patch16/1.jpg", "images/v1/patch16/1.jpg"),
    ],
)
def test_a_name_is_found_however_it_is_written(tmp_path, there, listed):
    folder = put(tmp_path / "images", there)
    found, lost = find_pictures(folder, [listed])
    assert not lost and found[listed].read_text() == there
    assert find_picture(folder, listed) == found[listed]


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        (["img_1.jpg", "IMG_1.JPG"], "Img_1.jpg"),  # two as near
        ([], "../secret.jpg"),
        (["1.jpg"], "2.jpg"),
        (["Zoe.jpg"], "Zoé.jpg"),  # an accent is no form
        (["a.jpg"], "a.jpg\0"),
        ([], "x" * 300 + ".jpg"),
    ],
)
def test_what_is_not_there_or_unclear_is_missing(tmp_path, there, listed):
    put(tmp_path, "secret.jpg")
    folder = put(tmp_path / "images", *there)
    folder.mkdir(exist_ok=True)
    assert find_pictures(folder, [listed]) == ({}, {listed: MISSING})


def test_as_many_leading_folders_are_dropped_for_every_name(tmp_path):
    folder = put(tmp_path / "images", "1.jpg", "2.jpg", "b/3.jpg")
    found, lost = find_pictures(folder, ["cam/1.jpg", "cam/2.jpg", "b/3.jpg", "cam/4.jpg"])
    assert set(found) == {"cam/1.jpg", "cam/2.jpg"}  # without `cam/`, b/3.jpg would be 3.jpg
    assert lost == {"b/3.jpg": MISSING, "cam/4.jpg": MISSING}


@pytest.mark.parametrize(
    "names",
    [
        ["camA/1.jpg", "camB/1.jpg"],
        ["1.jpg", "1.JPG"],
        ["Zoé.jpg", nfd("Zoé.jpg")],
        ["a b.jpg", "a%20b.jpg"],
        ["1.jpg", ".\\1.jpg"],
    ],
)
def test_two_listed_pictures_never_end_at_one_file(tmp_path, names):
    folder = put(tmp_path / "images", "1.jpg", "Zoé.jpg", "a b.jpg")
    assert find_pictures(folder, names) == ({}, dict.fromkeys(names, SHARED))


def test_links_to_one_file_are_one_file(tmp_path):
    folder = put(tmp_path / "images", "1.jpg", "2.jpg")
    (folder / "3.jpg").symlink_to(folder / "1.jpg")
    found, lost = find_pictures(folder, ["1.jpg", "2.jpg", "3.jpg"])
    assert set(found) == {"2.jpg"} and set(lost.values()) == {SHARED}


def test_no_name_leads_out_of_the_folder(tmp_path):
    folder = put(tmp_path / "images", "1.jpg")
    secret = put(tmp_path, "secret.jpg") / "secret.jpg"
    for name in (
        "../secret.jpg",
        "..\\secret.jpg",
        "%2e%2e/secret.jpg",
        str(secret),
        "a/../../secret.jpg",
    ):
        assert picture_at(folder, name) is None and find_picture(folder, name) is None
