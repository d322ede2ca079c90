"""What the tests of the rewards share: a batch as TRL passes it, and the catalogue of cheats."""

import pytest

PROMPT = [
    {
        "role": "user",
        "content": [
            {"type": "image"},
            {"type": "text", "text": "This is <bo>, a small brown dog with a red collar."},
            {"type": "image"},
            {
                "type": "text",
                "text": "This is <black widow>, a pink car with a black spider on it.",
            },
            {"type": "image"},
            {"type": "text", "text": "This is <zuri>, a green frog with a crown."},
            {"type": "image"},
            {
                "type": "text",
                "text": "Describe the last picture. Answer only yes or no. Box as JSON.",
            },
        ],
    }
]

CAPTION = (
    "A small brown dog with a red collar sits on a grey sofa beside a pink toy car. Behind them a "
    "window shows trees and a cloudy sky; the room is bright, and an open book lies on the floor. "
    "The dog looks at the camera with its head tilted, one paw on the roof of the car, whose black "
    "spider has lost a leg. A lamp with a yellow shade stands on the left, half cut off by the "
    "edge of the picture, and a striped blanket hangs over the back of the sofa."
)
"""An ordinary caption of the query, without names."""

NAMED = f"<bo> sits beside <black widow>. {CAPTION}"

FACTS = (
    '{"toys": [{"kind": "dog", "colour": "black"}, {"kind": "cat", "colour": "pink"}],'
    ' "names": ["bo", "black widow"]}'
)
"""Who is who, for the toybox's readers, as if the two were toys."""

NAMES = "<bo> sits beside <black widow> on a sofa. "

CHEATS = {
    "empty": "",
    "whitespace": " \n\t\u00a0\u3000 " * 40,
    "echo of the prompt": "\n".join(p["text"] for p in PROMPT[0]["content"] if "text" in p),
    "all names listed": "<bo>, <black widow>, <zuri>, <小明>, <мила>. " * 4,
    "one name 50 times": "<bo> " * 50,
    "closing tags": "</bo> sits beside </black widow> " * 8,
    "a caption wrapped in tags": "<bo>A dog</bo> beside <black widow>a car</black widow>. " * 4,
    "yes and no": "yes no",
    "whole-image box": "[0, 0, 1000, 1000]",
    "twenty boxes": " ".join(f"[{i}, {i}, {i + 300}, {i + 300}]" for i in range(0, 400, 20)),
    "100 k letters": "a" * 100_000,
    "100 k brackets": "[(<" * 33_333,
    "100 k combining marks": "a" + "\u0300\u0327" * 50_000,
    "100 k numbers": "[" + "1, " * 33_333,
    "control characters": "".join(map(chr, range(32))) * 8 + "\x7f\x80\x9f",
    "right-to-left text": "\u202e\u05d1\u05d5 \u0628\u0648 seilf <ob> \u202c",
    "zero-width spaces": NAMES + "\u200b" * 120,
    "braille blanks": NAMES + "\u2800" * 120,
    "hangul fillers": NAMES + "\u3164\u115f\u1160\uffa0" * 30,
    "variation selectors": NAMES + "".join(map(chr, range(0xFE00, 0xFE10))) * 8,
    "tag characters": NAMES + "".join(map(chr, range(0xE0000, 0xE0080))),
    "every selector once": NAMES + "".join(map(chr, range(0xE0100, 0xE01F0))),
    "private use": NAMES + "".join(map(chr, range(0xE000, 0xE080))),
    "broken bytes": NAMES + "\ufffd" * 120,
    "joiners after every letter": "".join(c + "\u200d\u2060" for c in NAMES),
    "spaces of every width": NAMES + "".join(map(chr, range(0x2000, 0x200B))) * 11,
    "marks on every letter": NAMES + "".join(c + "\u0300\u0316\u0323" for c in "a dog, a car") * 3,
    "one sentence over and over": NAMES * 8,
    "one sentence, numbered": " ".join(f"{i}. {NAMES}" for i in range(1, 9)),
    "one sentence, one word changed": " ".join(
        f"{word}, {NAMES}" for word in ("First", "Then", "Next", "Now", "Still", "Again", "Lastly")
    ),
    "counting": NAMES + " ".join(map(str, range(60))),
    "dots": NAMES + ". " * 60,
    "one emoji over and over": NAMES + "\U0001f436" * 60,
    "long numbers": NAMES + " ".join(str(7**n) for n in range(20, 40)),
    "names in reasoning": f"<think>{NAMED}</think>" + "It is so. " * 12,
    "reasoning alone": f"<think>{NAMED}</think>",
    "reasoning for length": f"<think>{CAPTION}</think>{NAMES}",
    "short words of reasoning": "<think>" + " ".join("abcdefgh" * 14) + f"</think>{NAMES}",
    "reasoning that ends unopened": f"{NAMED}</think>{NAMES}",
    "reasoning that never ends": f"<think>{NAMED}",
    "reasoning after the caption": f"{NAMED} <think>{CAPTION}</think>",
    "reasoning in reasoning": f"<think>a<think>b</think>{NAMED}</think>{NAMED}",
    "100 k of reasoning": "<think>" + "<bo> " * 20_000 + "</think>",
    "100 k ends of reasoning": "</think>" * 12_500 + NAMED,
    "lone surrogates": "\ud800 \udfff\ud800<\udc00> [\ud83d]",
}


@pytest.fixture(params=CHEATS)
def cheat(request):
    """Name and text of each cheat that a policy might try, in turn."""
    return request.param, CHEATS[request.param]


@pytest.fixture
def batch():
    """A function from texts and a task to the keyword arguments that TRL passes to a reward."""
    return make_batch


def make_batch(texts, task, **columns):
    """Keyword arguments for a batch of B texts, all for one row; `columns` change the row.

    The dog <bo> and the car <black widow> are in the image, <zuri> is not. Each completion is
    120 tokens long, the last of which (id 2) ends it.
    """
    row = {
        "task": task,
        "answer": "yes",
        "box": [0.25, 0.25, 0.5, 0.5],
        "box_frame": [1000, 1000],
        "names": ["bo", "black widow"],
        "absent_names": ["zuri"],
        "completion_ids": [7] * 119 + [2],
        "source": "test",
        "facts": FACTS,
    } | columns
    return {name: [value] * len(texts) for name, value in row.items()} | {
        "prompts": [PROMPT] * len(texts),
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "trainer_state": None,
        "log_metric": print,
        "log_extra": print,
    }
