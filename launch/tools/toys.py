"""Make photos of toys that training never saw, to try one's own concepts with.

    byname toys
    byname toys --out runs/my_toys --count 12 --views 5

Writes ``photos/<name>/*.png`` (whose they are), ``new/*.png`` (to ask about) and ``others/*.png``
(toys of nobody's, as negatives), in the form in which a user keeps photos of real things.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from concepts.importers import toy_photos
from data_gen.files.sentences import next_commands
from data_gen.files.settings import read_settings


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
        made = toy_photos(
            settings.out,
            settings.count,
            settings.seed,
            views=settings.views,
            scenes=settings.scenes,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"toys: {error}")
    except KeyboardInterrupt:
        sys.exit("toys: stopped")
    for image, names in made:
        print(f"{image} shows {' and '.join(names)}")
    print(f"wrote {settings.out}")
    photos = Path(settings.out) / "photos"
    asked = ["byname", "ask", "--policy", settings.policy, "--photos", photos]
    print(next_commands([*asked, "--image", made[0][0], "--retrieval.encoder", "toybox_clip"]))


if __name__ == "__main__":
    main()
