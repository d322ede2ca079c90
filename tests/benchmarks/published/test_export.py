"""Published benchmarks as row sets, with controls and with retrieved references."""

import pytest
import yaml

from benchmarks.published.export import COLUMNS, export
from benchmarks.published.naming import Naming, NamingSettings
from benchmarks.published.recognition import Recognition, RecognitionSettings
from concepts.methods.finding import RetrievalSettings
from data_gen.files.errors import InputError
from data_gen.rows import read_rows
from launch.tools.export_benchmark import main
from tests.benchmarks.published_files import make_files
from tests.concepts.tiny_encoders import save_open_clip


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


def naming(root, images):
    return Naming(
        NamingSettings(
            path=str(root / "queries.json"),
            database=str(root / "database.json"),
            images=images,
            size=32,
            controls=["wrong"],
        ),
        limit=4,
    )


def test_controls_are_sets_of_their_own(files):
    root, images = files
    assert export(naming(root, images), root / "out", "c.yaml") == {"naming": 4, "naming_wrong": 4}
    rows = read_rows(root / "out" / "naming")
    assert set(COLUMNS) <= set(rows.column_names)
    assert [len(row["images"]) for row in rows] == [2] * 4 and not rows[0]["absent_names"]
    assert all(
        row["absent_names"] and not row["names"] for row in read_rows(root / "out" / "naming_wrong")
    )


def test_retrieved_references_are_a_set_too(files):
    root, images = files
    retrieval = RetrievalSettings(
        encoder=str(save_open_clip(root / "clip")),
        regions=None,
        k=3,
        cache=str(root / "features"),
    )
    counts = export(naming(root, images), root / "out", "c.yaml", retrieval)
    assert counts == {"naming": 4, "naming_retrieved": 4, "naming_wrong": 4}
    rows = read_rows(root / "out" / "naming_retrieved")
    assert all(len(row["images"]) == 3 + 1 and len(row["names"]) == 1 for row in rows)
    assert all(len(row["absent_names"]) in (2, 3) for row in rows)


def test_images_that_do_not_open_are_counted(files):
    root, images = files
    (root / "images" / "bo_0.png").write_bytes(b"\x89PNG torn")
    benchmark = naming(root, images)
    assert export(benchmark, root / "out", "c.yaml")["naming"] == 3
    assert any(reason.startswith("image that does not open") for reason in benchmark.skipped.counts)


def test_what_cannot_be_exported(files, tmp_path):
    root, images = files
    (tmp_path / "c.yaml").write_text("benchmark: naming")
    with pytest.raises(SystemExit, match="'path' is missing"):
        main(["--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="cannot read"):
        main(["--config", str(tmp_path / "d.yaml"), "--out", str(tmp_path / "out")])
    recognition = Recognition(
        RecognitionSettings(
            path=str(root / "recognition.json"), database=str(root / "database.json"), images=images
        )
    )
    with pytest.raises(InputError, match="retrieval: recognition has no database"):
        export(recognition, tmp_path / "out", "c.yaml", RetrievalSettings(encoder="imagenet"))


def test_a_config_of_an_evaluation_is_one_of_an_export(files, capsys):
    root, images = files
    (root / "c.yaml").write_text(
        yaml.safe_dump(
            {
                "benchmark": "naming",
                "path": str(root / "queries.json"),
                "images": images,
                "batch_size": 4,
                "resamples": 50,
            }
        )
    )
    main(["--config", str(root / "c.yaml"), "--out", str(root / "out"), "--limit", "2"])
    assert "rows: naming 2" in capsys.readouterr().out
