"""Pictures that a text-to-image model paints: both candidates of one scene, each in its look."""

from pathlib import Path

import pytest

from data_gen.files.errors import InputError
from data_gen.generators import GENERATORS
from data_gen.preferences.painted import PaintedPreferenceSettings, Painter
from data_gen.preferences.users import Profile
from data_gen.rows import check_row
from data_gen.synthesis.object_texts import object_texts
from rewards.preference import TASK

TEXTS = {
    "item": "{colour} {kind} with white stripes and red crown",
    "scene": "plain {wall} wall",
    "lists": {"kind": ["bear", "cat"], "colour": ["blue", "green"], "wall": ["mint", "sky"]},
}
PIPELINE = {
    "class": "AutoPipelineForText2Image",
    "weights": "toybox_diffusion",
    "dtype": "float32",
    "call": {"num_inference_steps": 1, "max_sequence_length": 24},
}
# The tiny model knows no look; the term of the colour is one of its own words.
GIVEN = {
    "texts": TEXTS,
    "pipeline": PIPELINE,
    "size": 48,
    "pictures": {2: 1.0},
    "batch_size": 6,
    "targets": True,
    "wording": "long",
}
LOOK = Profile("anime", "teal", "etching", "muted", "plain")


def test_a_row_is_painted_the_same_by_index():
    rows = GENERATORS["painted_preferences"].rows({TASK: 3}, 1, GIVEN)
    row, again = rows.make(TASK, 2), rows.make(TASK, 2)
    check_row(row)
    assert len(row["images"]) == 6 and {image.size for image in row["images"]} == {(48, 48)}
    assert [i.tobytes() for i in row["images"]] == [i.tobytes() for i in again["images"]]
    assert "<visual preference profile>" in row["target"]


def test_the_text_of_a_picture_has_its_scene_and_its_terms():
    settings = PaintedPreferenceSettings(**GIVEN)
    painter = Painter(None, object_texts(TEXTS, 1), 1, settings)
    one, other = (
        painter.text("scene 1", LOOK),
        painter.text("scene 1", LOOK._replace(colour="rust")),
    )
    assert all(term in one for term in LOOK) and other == one.replace("teal", "rust")
    assert len({painter.text(f"scene {i}", LOOK) for i in range(40)}) > 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "{item}, {art_style}"}, "prompt: {colour} is missing"),
        ({"prompt": PaintedPreferenceSettings.prompt + "{mood}"}, "prompt: there is no {mood}"),
        ({"prompt": "{"}, "prompt: "),
        ({"texts": {}}, "texts and pipeline are missing"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"image_format": "bmp"}, "image_format must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        PaintedPreferenceSettings(**(GIVEN | given))


def test_the_shipped_configs_are_read_before_any_weights_load():
    from data_gen.files.settings import read_yaml
    from data_gen.tasks.prompts import load_prompts

    config = read_yaml("configs/data/preferences_flux.yaml")
    own = {k: v for k, v in config.items() if k not in ("generator", "out", "seed", "counts")}
    settings = PaintedPreferenceSettings(**own)
    assert set(settings.pictures) == {5} and Path(settings.vocabulary).is_file()
    told = load_prompts(settings.prompts)[TASK]
    assert "<visual non-preference profile>" in told["system"]
