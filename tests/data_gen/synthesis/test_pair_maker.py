"""Pairs by index, and where their halves lie."""

from PIL import Image

from data_gen.rows.indexed import Skipped
from data_gen.sources.image_pairs import half_boxes
from data_gen.synthesis import pair_maker
from data_gen.synthesis.object_texts import ObjectText
from data_gen.synthesis.pair_maker import DIPTYCH, EDIT, PairMaker, join_halves
from data_gen.synthesis.pipelines import PipelineSettings


def test_halves_are_joined_at_the_published_places():
    halves = tuple(Image.new("RGB", (512, 512), colour) for colour in ("red", "blue"))
    assert join_halves(halves).size == (1048, 528)
    assert half_boxes(1048, 528) == [(8, 8, 520, 520), (528, 8, 1040, 520)]


def maker(monkeypatch, **changes) -> tuple[PairMaker, list]:
    """A maker whose pipeline gives grey images; and the calls of it: prompts and seeds."""
    calls = []

    def generate_images(pipeline, settings, prompts, seeds, size, images=None):
        calls.append((prompts, seeds))
        return [Image.new("RGB", size, (seed % 256,) * 3) for seed in seeds]

    monkeypatch.setattr(pair_maker, "generate_images", generate_images)
    monkeypatch.setattr(pair_maker, "load_pipeline", lambda *args: None)
    given = dict(
        seed=3,
        objects=lambda i: ObjectText(f"mug {i}", "mug", ("here", "there")),
        prompts={
            DIPTYCH: "{item}: {scene_0}, {scene_1}",
            EDIT: "{item} {scene_1}",
            "subject": "{item} {scene_0}",
        },
        pipelines=(PipelineSettings("a/b"), PipelineSettings("a/b")),
        subjects=[],
        size=16,
        batch_size=2,
        quality=None,
        image_format="png",
        collection="test",
    )
    return PairMaker(**given | changes), calls


def test_a_pair_is_the_same_whichever_of_its_batch_is_asked_for_first(monkeypatch):
    makes, calls = maker(monkeypatch)
    second, first = makes.pair(DIPTYCH, 1), makes.pair(DIPTYCH, 0)
    assert len(calls) == 1  # one batch
    again, _ = maker(monkeypatch)
    assert [again.pair(DIPTYCH, i) for i in (0, 1)] == [first, second]
    assert second["id"] == "test-3-diptych-1"
    assert calls[0][0] == ["mug 0: here, there", "mug 1: here, there"]


def test_every_image_has_its_own_noise(monkeypatch):
    makes, calls = maker(monkeypatch)
    for i in range(4):
        makes.pair(DIPTYCH, i)
        makes.pair(EDIT, i)
    seeds = [seed for _, seeds in calls for seed in seeds]
    distinct = {
        (prompt, seed)
        for prompts, seeds in calls
        for prompt, seed in zip(prompts, seeds, strict=True)
    }
    assert len(set(seeds)) == len(distinct) == 12 and max(seeds) < 2**63


def test_a_pair_below_the_least_is_skipped_with_its_reason(monkeypatch):
    from data_gen.synthesis.quality import CONSISTENCY, QUALITY, STRUCTURE, QualitySettings

    makes, _ = maker(monkeypatch, quality=QualitySettings("none", least={CONSISTENCY: 3}))
    points = {STRUCTURE: 5, QUALITY: 5}
    makes.__dict__["scorer"] = lambda pairs: [
        points | {CONSISTENCY: i + 2} for i in range(len(pairs))
    ]
    assert makes.pair(DIPTYCH, 0) == Skipped("objectConsistency below 3")
    kept = makes.pair(DIPTYCH, 1)
    assert kept["quality_assessment"][CONSISTENCY] == 3
