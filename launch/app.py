"""Open the page: add your own things, ask about pictures, find them in photos, correct answers.

    byname app                                        # a few toys that training never saw, to try
    byname app --policy runs/toybox_demo/policy --photos my_photos
    byname app --method rap --database my/database.json \\
        --beside plain=configs/methods/in_context.yaml

The page is for whoever sits at this machine: it listens on 127.0.0.1. With another ``--host``, and
with ``--share``, it asks for a password, which the environment variable BYNAME_PASSWORD holds.
``--guests true`` gives each browser tab things of its own, removed an hour after it was closed.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from concepts.database import Database
from concepts.importers import toy_photos
from concepts.methods.systems import System, check_policy, read_system
from data_gen.files.errors import InputError
from data_gen.files.settings import read_settings
from launch.ask import default_config
from launch.learn import OwnerSettings
from rl.run import quiet_libraries

LOOPBACK = ("127.0.0.1", "localhost", "::1")

PASSWORD = "BYNAME_PASSWORD"

LEAST_PASSWORD = 8
"""Characters."""

MOST_PORT = 65535

TOYS = Path("runs/app")
"""Where the toys lie that are there to try."""


@dataclass(kw_only=True)
class AppSettings(OwnerSettings):
    """Whose things, which systems answer, and where the page is."""

    beside: list[str] = field(
        default_factory=list,
        metadata={"help": "LABEL=FILE of a further system, once for each, to compare with."},
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})
    port: int = field(default=7860, metadata={"help": "Port; 0 takes a free one."})
    share: bool = field(
        default=False, metadata={"help": "Through gradio's public servers: pictures leave here."}
    )
    guests: bool = field(default=False, metadata={"help": "Each browser tab has its own things."})
    max_new_tokens: int = field(default=160, metadata={"help": "Where answers are cut."})

    def systems(self) -> dict[str, System]:
        """Label -> system, checked before anything loads.

        Raises:
            InputError: what is wrong with one of them.
        """
        if not 0 <= self.port <= MOST_PORT:
            raise InputError(f"port must be a number in 0-{MOST_PORT}, not {self.port}")
        first = self.system()
        found = {first.label: first}
        for spec in self.beside:
            label, _, file = spec.rpartition("=")
            further = read_system(label, file)
            check_policy(further.path)
            if further.label in found:
                raise InputError(f"two systems are called {further.label!r}; give --beside LABEL=")
            found[further.label] = further
        return found


def main(argv: list[str] | None = None) -> None:
    """Read the settings, open the page, and stay until Ctrl-C."""
    quiet_libraries()
    argv = sys.argv[1:] if argv is None else argv
    try:
        (settings,) = read_settings(
            argv, AppSettings, default_config=default_config(argv), program="app", doc=__doc__
        )
        page, address = serve(settings)
    except (ValueError, OSError) as error:
        sys.exit(f"app: {error}")
    except KeyboardInterrupt:
        sys.exit("\napp: stopped before the page was open")
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        page.block_thread()
    page.close()


def serve(settings: AppSettings) -> tuple[Any, str]:
    """Open the page; it is served by threads of its own.

    Returns:
        The page, to be closed, and its address.

    Raises:
        InputError: what is wrong with the settings; or gradio is not installed.
    """
    auth = password_for(settings)
    systems = settings.systems()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # What is uploaded and offered for download lies here, and is gone when the program ends.
    os.environ["GRADIO_TEMP_DIR"] = temporary_folder("byname-app-")
    try:
        from concepts.app.editing import MAX_PHOTO_BYTES
        from concepts.app.page import CSS, OwnResourcesOnly, build_page, theme
    except ModuleNotFoundError as error:
        raise InputError(
            f"the page needs the package {error.name!r}: pip install 'byname[app]'"
        ) from None
    from starlette.middleware import Middleware

    new_session, end_session, example = sessions(settings, systems)
    page = build_page(
        new_session,
        list(systems),
        end_session=end_session,
        max_new_tokens=settings.max_new_tokens,
        example=example,
    )
    if settings.share:
        print(
            "warning: with --share the page, and every picture that is shown to it, goes through "
            "gradio's public servers",
            flush=True,
        )
    _, address, public = page.launch(
        server_name=settings.host,
        server_port=settings.port or None,
        share=settings.share,
        auth=auth,
        max_file_size=MAX_PHOTO_BYTES,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        ssr_mode=False,
        footer_links=[],
        css_paths=[CSS],
        theme=theme(),
        app_kwargs={"middleware": [Middleware(OwnResourcesOnly)]},
    )
    return page, public if settings.share else address


def temporary_folder(prefix: str) -> str:
    """A new folder that is removed when the program ends."""
    folder = tempfile.mkdtemp(prefix=prefix)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def password_for(settings: AppSettings) -> tuple[str, str] | None:
    """Who may open the page: ``None``, whoever can reach it, as long as that is this machine.

    Raises:
        InputError: others can reach it, and there is no password, or a short one.
    """
    password = os.environ.get(PASSWORD, "")
    if settings.host in LOOPBACK and not settings.share and not password:
        return None
    if len(password) < LEAST_PASSWORD:
        raise InputError(
            f"others could open the page; set a password of {LEAST_PASSWORD} characters or more in "
            f"the environment variable {PASSWORD} (the user is called 'byname')"
        )
    return "byname", password


def sessions(
    settings: AppSettings, systems: dict[str, System]
) -> tuple[Callable, Callable, Path | None]:
    """What begins a browser tab's session, what ends it, and a picture to begin with."""
    from concepts.app.session import Policies, Session

    policies = Policies(settings.dtype, settings.device)
    if settings.guests:
        folder = Path(temporary_folder("byname-guests-"))

        def of_a_guest() -> Session:
            own = Path(tempfile.mkdtemp(dir=folder))
            return Session(Database(own / "database.json"), systems, policies, settings.size)

        def gone(session: Session) -> None:
            shutil.rmtree(session.database.path.parent, ignore_errors=True)

        return of_a_guest, gone, None
    example = None
    if settings.photos is None and settings.database is None:
        if not TOYS.exists():
            toy_photos(TOYS)
        settings.photos, example = str(TOYS / "photos"), TOYS / "new" / "0.png"
    if settings.photos is not None:
        database = settings.opened_database()
    else:
        database = Database(settings.database or "")  # need not exist: the page adds to it
        if database.path.exists():
            settings.opened_database()
    owner = Session(database, systems, policies, settings.size)
    return lambda: owner, lambda session: None, example


if __name__ == "__main__":
    main()
