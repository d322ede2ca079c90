"""Make photos of toys that training never saw, to try one's own concepts with.

    byname toys
    byname toys --out runs/my_toys --count 12 --views 5

Writes ``photos/<name>/*.png`` (whose they are), ``new/*.png`` (to ask about) and ``others/*.png``
(toys of nobody's, as negatives), in the form in which a user keeps photos of real things. The same
command again makes nothing anew, and says what there is.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from concepts.importers import toy_photos
from data_gen.files.files import refuse_no_folder, write_json
from data_gen.files.sentences import next_commands
from data_gen.files.settings import read_settings

MADE = "toys.json"
"""What was made, in ``out``."""


@dataclass(kw_only=True)
class ToysSettings:
    """How many, and where to."""

    out: str = field(default="runs/my_toys", metadata={"help": "Directory to make."})
    count: int = field(default=6, metadata={"help": "Toys."})
    views: int = field(default=4, metadata={"help": "Photos of each."})
    scenes: int = field(default=4, metadata={"help": "Images to ask about, and negatives."})
    seed: int = field(default=0, metadata={"help": "Decides everything, with the numbers."})
    policy: str = field(
        default="toybox_base", metadata={"help": "Of the command that is printed at the end."}
    )


def main(argv: list[str] | None = None) -> None:
    """Draw, write, say what to ask."""
    try:
        (settings,) = read_settings(
            sys.argv[1:] if argv is None else argv, ToysSettings, program="toys", doc=__doc__
        )
        refuse_no_folder(settings.out, "out")
        made = made_before(settings) or make(settings)
    except (ValueError, OSError) as error:
        sys.exit(f"toys: {error}")
    except KeyboardInterrupt:
        sys.exit("toys: stopped")
    out = Path(settings.out)
    for image, names in made.items():
        print(f"{out / image} shows {' and '.join(names)}")
    print(f"they are in {out}")
    asked = ["byname", "ask", "--policy", settings.policy, "--photos", out / "photos"]
    image = out / next(iter(made))
    print(next_commands([*asked, "--retrieval.encoder", "toybox_clip", "--image", image]))


def make(settings: ToysSettings) -> dict[str, list[str]]:
    """Draw them; image to ask about, relative to ``out`` -> who is in it.

    Raises:
        DatabaseError: ``out`` holds something else, or a number cannot be.
    """
    made = toy_photos(
        settings.out,
        settings.count,
        settings.seed,
        views=settings.views,
        scenes=settings.scenes,
    )
    shown = {image.relative_to(settings.out).as_posix(): names for image, names in made}
    write_json(Path(settings.out) / MADE, {"made_by": plan(settings), "shown": shown})
    return shown


def made_before(settings: ToysSettings) -> dict[str, list[str]] | None:
    """What :func:`make` gave, where ``out`` was made by the same settings."""
    try:
        kept = json.loads((Path(settings.out) / MADE).read_text(encoding="utf-8"))
        return dict(kept["shown"]) if kept["made_by"] == plan(settings) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def plan(settings: ToysSettings) -> dict:
    """The settings that decide what is drawn."""
    return {k: v for k, v in asdict(settings).items() if k not in ("out", "policy")}


if __name__ == "__main__":
    main()
