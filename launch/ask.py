"""Ask about an image: who of your own is in it, why, and whatever you want to know.

    byname ask --policy runs/toybox_demo/policy --photos my_photos --image x.jpg
    byname ask --photos my_photos --image x.jpg "What is on the table?"
    byname ask --method yollava --database my/database.json --image x.jpg "Describe this picture."

``my_photos/<name>/*.jpg`` holds photos of each of your concepts. Without a question, a conversation
begins: one line, one question, each answered in view of those before it; an empty line ends it.
``--method`` takes its settings from ``configs/methods/<method>.yaml`` (or ``--config``); methods
that learn do so before the first answer.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from concepts.methods.assistant import Assistant, Conversation
from concepts.methods.protocol import Evidence
from data_gen.files.errors import InputError
from data_gen.files.settings import find_config, read_settings, take_options
from data_gen.images.photos import PhotoError, open_photo
from launch.learn import OwnerSettings
from rl.run import quiet_libraries


@dataclass(kw_only=True)
class AskSettings(OwnerSettings):
    """About which image, and what."""

    image: list[str] = field(
        default_factory=list, metadata={"help": "The image, and after it perhaps the question."}
    )
    question: list[str] = field(
        default_factory=list,
        metadata={"help": "What to ask; the option's name may be left away before --image."},
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Where answers are cut."})


def main(argv: list[str] | None = None) -> None:
    """Read the settings, say who is there, answer."""
    quiet_libraries()
    argv = sys.argv[1:] if argv is None else argv
    try:
        (settings,) = read_settings(
            argv,
            AskSettings,
            default_config=default_config(argv),
            positional="question",
            program="ask",
            doc=__doc__,
        )
        image, question = asked(settings)
        check_image(image)  # before weights load
        database = settings.opened_database()
        assistant = settings.assistant(database)
        assistant.learn(progress=True)
        if line := assistant.skipped.line():
            print(line)
        answer_all(assistant, image, question, settings.max_new_tokens)
    except (ValueError, OSError) as error:
        sys.exit(f"ask: {error}")
    except KeyboardInterrupt:
        sys.exit("\nask: stopped")


def default_config(argv: list[str]) -> str | None:
    """The config of the method that is named, where there is one of ours."""
    named, _ = take_options(argv, "method")
    words = [part for word in named for part in word.split("=")]
    file = f"configs/methods/{words[-1] if len(words) > 1 else 'in_context'}.yaml"
    return file if find_config(file).is_file() else None


def asked(settings: AskSettings) -> tuple[Path, str]:
    """The image, and the question or nothing.

    Raises:
        InputError: no image is given.
    """
    if not settings.image:
        raise InputError("about which image? give --image PHOTO")
    return Path(settings.image[0]), " ".join([*settings.question, *settings.image[1:]])


def check_image(image: Path) -> None:
    """Refuse what is no photo.

    Raises:
        InputError: which, and why.
    """
    try:
        open_photo(image, 64)
    except PhotoError as reason:
        raise InputError(f"{image}: {reason}") from None


def answer_all(assistant: Assistant, image: Path, question: str, max_new_tokens: int) -> None:
    """Say who is there; then answer the question, or every line that is typed."""
    least = assistant.least
    chosen = "by default" if assistant.threshold is None else "calibrated"
    print(f"who is there (p of {least:.2f} or more, {chosen}):")
    talk = Conversation(image)
    if question:
        answer = assistant.say(talk, question, max_new_tokens)
        print(*map(evidence_line, answer.concepts), sep="\n")
        print(shown(answer.text))
        return
    print(*map(evidence_line, assistant.who(image)), sep="\n")
    print("ask what you like; an empty line ends the conversation")
    while line := typed():
        print(shown(assistant.say(talk, line, max_new_tokens).text), flush=True)


def typed() -> str:
    """The next line from the keyboard; empty at its end."""
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def evidence_line(one: Evidence) -> str:
    """A candidate, and why it is there or not, as a line."""
    why = []
    if one.similarity is not None:
        why.append(f"similarity {one.similarity:.2f}")
    if one.p is not None:
        why.append(f"p {one.p:.2f}")
    reasons = f" ({', '.join(why)})" if why else ""
    return f"  {'+' if one.used else '-'} {shown(one.name)}{reasons}"


def shown(text: str) -> str:
    """What a model wrote, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


if __name__ == "__main__":
    main()
