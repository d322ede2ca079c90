"""The page in a browser: tabs for asking, for the user's things, and for finding them in photos.

Everything it does is in :mod:`concepts.app.session`; here are the widgets. What users or models
wrote is escaped; messages name no folder of the machine; nothing is loaded from elsewhere, which a
content security policy holds (:class:`OwnResourcesOnly`).
"""

import html
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path

import gradio as gr
from gradio.themes import Base

from concepts.app import editing
from concepts.app.corrections import box_of
from concepts.app.marking import answer_html, who_html, with_boxes
from concepts.app.session import Said, Session
from concepts.app.sightings import SearchedPhoto, as_csv, as_json, sheet
from concepts.concept import Concept
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError, open_photo

CSS = Path(__file__).with_name("page.css")

WAITING = 64
"""Questions that may wait; further ones are refused with a sentence."""

PHOTOS = ["image", ".heic", ".heif", ".avif"]

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class OwnResourcesOnly:
    """ASGI middleware: browsers load nothing that this server does not serve itself, and no other
    page may frame it."""

    HEADERS = (
        (b"content-security-policy", POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    )

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.HEADERS]}
            await send(message)

        await self.app(scope, receive, send if scope["type"] != "http" else with_headers)


def theme() -> Base:
    """Gradio's plainest, with the fonts of the machine."""
    return Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def build_page(
    new_session: Callable[[], Session],
    labels: list[str],
    *,
    end_session: Callable[[Session], None] = lambda session: None,
    max_new_tokens: int = 256,
    example: Path | None = None,
) -> gr.Blocks:
    """The page.

    Args:
        new_session: gives the session of a browser tab that was opened.
        labels: of the systems, the first of which is asked.
        end_session: is given the session of a tab that was closed an hour ago.
        max_new_tokens: where answers are cut.
        example: a picture to begin with.
    """
    with gr.Blocks(title="byname", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        session = gr.State(None, delete_callback=lambda s: end_session(s) if s else None)
        with gr.Tab("Ask"):
            ask = _ask_tab(session, labels, max_new_tokens, example)
        with gr.Tab("My things"):
            mine = _things_tab(session, labels)
        with gr.Tab("Find"):
            _find_tab(session, labels)
        opened = page.load(new_session, None, session, api_name="begin", show_progress="hidden")
        opened.then(_listing, session, mine, show_progress="hidden")
        opened.then(_choices, session, ask, show_progress="hidden")
    page.queue(max_size=WAITING, default_concurrency_limit=4)
    return page


def told(handler: Callable) -> Callable:
    """A handler whose refusals are shown as a sentence, escaped and without folders."""

    @contextmanager
    def sentences(session: Session | None) -> Iterator[Session]:
        if session is None:
            raise gr.Error("the page is not ready yet; try again in a moment")
        try:
            yield session
        except (InputError, PhotoError, ValueError, OSError) as error:
            words = str(error).replace(str(session.database.path), "your things")
            words = words.replace(f"{session.database.path.parent}/", "")
            raise gr.Error(html.escape(words), duration=12, print_exception=False) from None

    @wraps(handler)
    def safe(session: Session | None, *args, **kwargs):
        with sentences(session) as there:
            return handler(there, *args, **kwargs)

    @wraps(handler)
    def safe_steps(session: Session | None, *args, **kwargs):
        with sentences(session) as there:
            yield from handler(there, *args, **kwargs)

    return safe_steps if isgeneratorfunction(handler) else safe


# ---- ask ----


def _ask_tab(
    session: gr.State, labels: list[str], max_new_tokens: int, example: Path | None
) -> list:
    gr.Markdown("Choose a picture and ask who is in it, or anything else about it.")
    with gr.Row():
        with gr.Column(min_width=280):
            image = gr.Image(
                str(example) if example else None,
                type="filepath",
                sources=["upload", "clipboard"],
                label="Picture",
                elem_id="ask-image",
                height=300,
            )
            question = gr.Textbox(
                label="Question",
                placeholder="Empty: describe the picture",
                lines=1,
                max_length=2000,
                elem_id="ask-question",
            )
            with gr.Row():
                go = gr.Button("Ask", variant="primary", elem_id="ask-go")
                stop = gr.Button("Stop", min_width=80)
                anew = gr.Button("New conversation", min_width=120)
        columns = [_answer_column(labels, number) for number in range(min(2, len(labels)))]
    found = gr.State([])  # who was found in the picture
    runs = []
    for number, (system, answer, who, located) in enumerate(columns):
        answers = _answering(number, max_new_tokens)
        for trigger in (go.click, question.submit):
            run = trigger(
                answers,
                [session, system, image, question],
                [answer, who, located, found],
                concurrency_id="policy",
                concurrency_limit=1,
                show_progress_on=answer,
            )
            runs.append(run)
    stop.click(None, cancels=runs, show_progress="hidden")
    outputs = [part for _, answer, who, located in columns for part in (answer, who, located)]
    anew.click(_begin_anew(len(columns)), session, outputs, show_progress="hidden")
    return _correct_part(session, image, columns, runs, found)


def _answer_column(labels: list[str], number: int) -> tuple:
    with gr.Column(min_width=280):
        system = gr.Dropdown(
            labels if number == 0 else ["(nobody else)", *labels],
            value=labels[0] if number == 0 else "(nobody else)",
            label="Who answers" if number == 0 else "Beside it",
            visible=len(labels) > 1,
        )
        answer = gr.HTML(elem_id=f"answer-{number}", label="Answer")
        who = gr.HTML(elem_id=f"who-{number}", label="Who is there, and why")
        located = gr.Image(
            label="Where",
            interactive=False,
            height=300,
            visible=False,
            buttons=["download"],
            elem_id=f"where-{number}",
        )
    return system, answer, who, located


def _answering(number: int, max_new_tokens: int) -> Callable:
    @told
    def answers(session: Session, label: str, image: str | None, question: str):
        if label not in session.systems:  # the second column is not in use
            return "", "", gr.update(value=None, visible=False), gr.skip()
        picture = None if image is None else open_photo(image, session.size)
        said = session.ask(label, picture, question or "", max_new_tokens)
        where = None
        if picture is not None and said.boxes:
            where = with_boxes(picture, said.boxes)
        return (
            conversation_html(session, label, said),
            who_html(said.concepts),
            gr.update(value=where, visible=where is not None),
            said.there if number == 0 else gr.skip(),  # the first column is the one corrected
        )

    return answers


def conversation_html(session: Session, label: str, said: Said) -> str:
    """The conversation about a picture so far, names coloured."""
    known = [concept.name for concept in editing.known(session.database)]
    turns = []
    for asked, answered in session.turns(label):
        words = html.escape(asked) if asked else "Describe the picture."
        body = answer_html(answered, said.there, known)
        turns.append(f'<div class="turn"><p class="asked">{words}</p>{body}</div>')
    return "".join(turns)


def _begin_anew(columns: int) -> Callable:
    @told
    def anew(session: Session):
        session.begin_anew()
        return ["", "", gr.update(value=None, visible=False)] * columns

    return anew


# ---- correct ----


def _correct_part(
    session: gr.State, image: gr.Image, columns: list[tuple], runs: list, found: gr.State
) -> list:
    with gr.Accordion("Was it wrong? Say what is right", open=False, elem_id="correct"):
        there = gr.CheckboxGroup([], label="Who really is in the picture", elem_id="correct-there")
        with gr.Row():
            boxed = gr.Dropdown([], label="Box for", scale=1)
            corners = gr.Textbox(
                label="Corners: click two opposite ones in the picture above",
                interactive=False,
                scale=3,
            )
        marks = gr.State([])
        send = gr.Button("Keep the correction", elem_id="correct-send")
        kept = gr.HTML(elem_id="correct-kept")
    image.select(_mark, [session, image, marks], [marks, corners], show_progress="hidden")
    # What was marked, ticked and found belongs to the picture before.
    image.change(
        lambda: ([], "", [], []), None, [marks, corners, there, found], show_progress="hidden"
    )
    send.click(
        _correct,
        [session, columns[0][0], image, there, boxed, marks, found],
        [kept, marks, corners],
        show_progress="hidden",
    )
    for run in runs[:2]:
        run.then(_choices, session, [there, boxed], show_progress="hidden")
    return [there, boxed]


@told
def _choices(session: Session):
    names = [concept.name for concept in editing.known(session.database)]
    return gr.update(choices=names), gr.update(choices=["", *names], value="")


@told
def _mark(session: Session, image: str, marks: list, event: gr.SelectData):
    width, height = open_photo(image, 10_000).size
    x, y = event.index
    marks = [*marks[-1:], (min(1.0, max(0.0, x / width)), min(1.0, max(0.0, y / height)))]
    return marks, "  ".join(f"{x:.2f}, {y:.2f}" for x, y in marks)


@told
def _correct(
    session: Session,
    label: str,
    image: str | None,
    there: list,
    boxed: str,
    marks: list,
    found: list,
):
    boxes = {boxed: box_of(marks)} if boxed and marks else {}
    picture = None if image is None else open_photo(image, session.size)
    rows = session.correct(picture, there or [], boxes, found)
    words = html.escape(session.command(label))
    return (
        f"<p>{len(session.corrections)} corrections, {rows} rows. To train on them:</p>"
        f'<p><code class="command">{words}</code></p>',
        [],
        "",
    )


# ---- my things ----


def _things_tab(session: gr.State, labels: list[str]) -> list:
    gr.Markdown(
        "Add what you own by name: one to five photos, and what you like to say of it. Photos stay "
        "on the machine that serves this page, without the place where they were taken."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            name = gr.Textbox(label="Name", max_length=80, elem_id="add-name")
            photos = gr.File(
                file_count="multiple",
                file_types=PHOTOS,
                label="Photos",
                height=140,
                elem_id="add-photos",
            )
            info = gr.Textbox(label="What you say of it", lines=2, max_length=editing.MAX_WORDS)
            category = gr.Textbox(label="What it is, such as dog", max_length=80)
            said = gr.HTML(elem_id="add-said")
            with gr.Row():
                add = gr.Button("Add", variant="primary", elem_id="add-go")
                suggest = gr.Button("Suggest crops")
            parts = gr.Gallery(
                label="Click the part that shows it", visible=False, columns=3, height=220
            )
        with gr.Column(min_width=280):
            listed = gr.HTML(elem_id="things")
            pictures = gr.Gallery(
                label="First photos", columns=4, height=220, interactive=False, type="filepath"
            )
            chosen = gr.Dropdown([], label="Change", elem_id="change-which")
            new_name = gr.Textbox(label="Name", max_length=80, elem_id="change-name")
            new_info = gr.Textbox(label="What you say of it", lines=2, max_length=editing.MAX_WORDS)
            new_category = gr.Textbox(label="What it is", max_length=80)
            with gr.Row():
                save = gr.Button("Save", elem_id="change-save")
                remove = gr.Button("Remove", variant="stop", elem_id="change-remove")
            with gr.Row():
                label = gr.Dropdown(
                    labels, value=labels[0], label="Learn for", visible=len(labels) > 1
                )
                learn = gr.Button("Learn now", visible=len(labels) > 1)
            changed = gr.HTML(elem_id="change-said")
    outputs = [listed, pictures, chosen]
    warned = gr.State(None)
    adding = add.click(
        _add,
        [session, name, photos, info, category, warned],
        [said, warned, name, photos, info, category, parts],
        concurrency_id="policy",
        show_progress_on=said,
    )
    adding.then(_listing, session, outputs, show_progress="hidden")
    suggest.click(_suggest, [session, photos], parts)
    parts.select(_take_crop, [session, photos, parts], photos, show_progress="hidden")
    chosen.change(_chosen, [session, chosen], [new_name, new_info, new_category])
    for button, handler, inputs in (
        (save, _save, [session, chosen, new_name, new_info, new_category]),
        (remove, _remove, [session, chosen]),
    ):
        button.click(handler, inputs, changed).success(
            _listing, session, outputs, show_progress="hidden"
        )
    learning = learn.click(
        _learn, [session, label], changed, concurrency_id="policy", show_progress_on=changed
    )
    learning.then(_listing, session, outputs, show_progress="hidden")
    return outputs


@told
def _listing(session: Session):
    rows, pictures = [], []
    for one in session.listed():
        learned = "; ".join(
            f"{kind}: {seconds:.1f} s, {n_bytes:,} bytes"
            for kind, (seconds, n_bytes) in one.learned.items()
        )
        cells = (one.name, one.category, one.info, f"{one.n_photos}", learned)
        rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
        pictures.append((open_photo(one.photo, 256), one.name))
    heads = "".join(f"<th>{head}</th>" for head in ("name", "is", "you say", "photos", "learned"))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f'<div class="scrolls"><table class="things"><tr>{heads}</tr>{body}</table></div>'
    names = [name for _, name in pictures]
    return (
        table if rows else "<p>Nothing yet.</p>",
        pictures,
        gr.update(choices=["", *names], value=""),
    )


@told
def _add(
    session: Session, name: str, photos: list | None, info: str, category: str, warned: list | None
):
    new = editing.checked(name, photos, info, category)
    signature = [new.name, [str(photo) for photo in new.photos]]
    if warned != signature and (said := session.warnings(new)):
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in said)
        words = f'<div class="warnings">{lines}<p>Press Add again to add it all the same.</p></div>'
        return words, signature, *[gr.skip()] * 5
    session.add(new)
    words = f"<p>{html.escape(new.name)} is added. Ask about a picture of it.</p>"
    return words, None, "", None, "", "", gr.update(value=[], visible=False)


@told
def _suggest(session: Session, photos: list | None):
    if not photos:
        raise editing.UploadError("choose a photo first")
    return gr.update(value=session.crops(open_photo(photos[0], 1024)), visible=True)


@told
def _take_crop(session: Session, photos: list | None, parts: list, event: gr.SelectData):
    return [parts[event.index][0], *(photos or [])[1:]]


@told
def _chosen(session: Session, name: str):
    found = {concept.name: concept for concept in editing.known(session.database)}
    one = found.get(name, Concept(""))
    return one.name, editing.own_words(one), one.category


@told
def _save(session: Session, name: str, new_name: str, info: str, category: str):
    _check_chosen(name)
    session.change(name, info or "", category or "")
    new_name = " ".join((new_name or "").split()).strip("<>")
    if new_name and new_name != name:
        session.rename(name, new_name)
    return f"<p>{html.escape(new_name or name)} is saved.</p>"


@told
def _remove(session: Session, name: str):
    _check_chosen(name)
    session.remove(name)
    return f"<p>{html.escape(name)} is removed, with everything that was learned of it.</p>"


@told
def _learn(session: Session, label: str):
    lines = session.learn(label) or ["everything is learned"]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _check_chosen(name: str) -> None:
    if not name:
        raise editing.UploadError("choose first which one to change")


# ---- find ----


def _find_tab(session: gr.State, labels: list[str]) -> None:
    gr.Markdown("Choose photos, or a folder of them: who of yours is where?")
    photos = gr.File(
        file_count="directory", label="Folder of photos", height=140, elem_id="find-folder"
    )
    single = gr.File(
        file_count="multiple",
        file_types=PHOTOS,
        label="... or photos",
        height=140,
        elem_id="find-photos",
    )
    with gr.Row():
        label = gr.Dropdown(
            labels, value=labels[0], label="Who looks", visible=len(labels) > 1, scale=2
        )
        go = gr.Button("Find", variant="primary", elem_id="find-go")
        stop = gr.Button("Stop")
    said = gr.HTML(elem_id="find-said")
    found = gr.Image(label="Who is where", interactive=False, visible=False, elem_id="find-sheet")
    with gr.Row():
        as_table = gr.DownloadButton("CSV", visible=False)
        as_data = gr.DownloadButton("JSON", visible=False)
        keep = gr.Button("All of it is right: keep it as rows", visible=False)
    looked = gr.State([])
    run = go.click(
        _find,
        [session, label, photos, single],
        [said, found, looked, keep],
        concurrency_id="policy",
        show_progress_on=said,
    )
    run.then(_files, [session, looked], [as_table, as_data], show_progress="hidden")
    stop.click(None, cancels=[run], show_progress="hidden")
    keep.click(_keep, [session, label, looked], said)


@told
def _find(session: Session, label: str, folder: list | None, single: list | None):
    files = [Path(file) for file in [*(folder or []), *(single or [])]]
    looked, skipped = [], SkippedItems()
    for one in session.find(label, files, skipped):  # in steps, between which Stop ends it
        looked.append(one)
        done = len(looked) + skipped.total
        yield f"<p>{done} of {len(files)} photos</p>", gr.skip(), gr.skip(), gr.skip()
    if not looked:
        raise editing.UploadError(f"none of these files is a photo that opens{skipped.clause()}")
    seen = sum(len(one.sightings) for one in looked)
    words = f"{seen} sightings in {len(looked)} photos{skipped.clause()}"
    yield (
        f"<p>{html.escape(words)}</p>",
        gr.update(value=sheet(looked), visible=True),
        looked,
        gr.update(visible=True),
    )


@told
def _files(session: Session, looked: list[SearchedPhoto]):
    if not looked:
        return gr.update(visible=False), gr.update(visible=False)
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR")))
    updates = []
    for name, text in (("found.csv", as_csv(looked)), ("found.json", as_json(looked))):
        (folder / name).write_text(text, encoding="utf-8")
        updates.append(gr.update(value=str(folder / name), visible=True))
    return updates


@told
def _keep(session: Session, label: str, looked: list[SearchedPhoto]):
    rows = session.keep(looked)
    words = html.escape(session.command(label))
    return f'<p>{rows} rows.</p><p><code class="command">{words}</code></p>'
