"""What settings name and is not there is told with its key, before anything is fetched."""

import pytest

from data_gen.files.errors import SourceError
from data_gen.files.settings import read_yaml
from data_gen.generators import GENERATORS
from data_gen.sources import subjects200k
from data_gen.sources.needed import check_needed
from tests.places import ROOT


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"annotations": "data/coco/x.json"}, "annotations: data/coco/x.json cannot be .*cocodata"),
        ({"images": "data/coco/train2017"}, "images: data/coco/train2017 is no directory; .*cocod"),
        ({"references": "data/refcoco/r.json"}, "references: .*lichengunc/refer"),
        ({"images": {"./photos": "nowhere"}}, "images: nowhere is no directory; name its place"),
        ({"root": "photos"}, "root: photos is no directory; give a folder that holds <subject>/"),
        ({"neighbours": "runs/n.parquet"}, "neighbours: .*byname mine_negatives makes it"),
        ({"generator": "released", "path": "data/train.json"}, "path: data/train.json cannot be"),
        ({"generator": "subjects200k", "path": "runs/pairs/none"}, "path: runs/pairs/none cannot"),
    ],
)
def test_each_is_told_with_what_to_do(settings, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=sentence):
        check_needed(settings)


def test_what_is_there_a_hub_id_and_what_is_no_file_pass(tmp_path):
    check_needed(
        {
            "generator": "subjects200k",
            "path": "Yuanshi/Subjects200K",
            "root": str(tmp_path),
            "classes": None,
            "references": {1: 0.5, 2: 0.5},
        }
    )


@pytest.mark.parametrize("name", ["repic_2k", "personal_20k", "detection"])
def test_a_shipped_config_names_the_first_missing_file_before_it_fetches_pairs(
    name, tmp_path, monkeypatch
):
    settings = read_yaml(ROOT / "configs" / "data" / f"{name}.yaml")
    generator, counts, seed = (settings.pop(key) for key in ("generator", "counts", "seed"))
    settings.pop("out")
    monkeypatch.setattr(subjects200k, "fetch_pairs", lambda *_: pytest.fail("fetched"))
    monkeypatch.chdir(tmp_path)
    said = "source 'pairs': neighbours" if name == "personal_20k" else "annotations: data/coco/"
    with pytest.raises(SourceError, match=said):
        GENERATORS[generator].rows(counts, seed, settings)
