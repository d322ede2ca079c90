"""One question to a chat model behind an OpenAI-compatible endpoint; the standard library does."""

import json
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same question may be answered."""

_MOST_WAIT = 60.0  # seconds, whatever an endpoint asks for
_MOST_BYTES = 8 * 1024**2


class ChatError(RuntimeError):
    """The endpoint does not answer. The message says what it said and what to do."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask.

    Args:
        url: up to the version: ``http://host:8000/v1``.
        model: name of the model there.
        key: sent as a bearer token where there is one; never shown.
        timeout: seconds for one answer.
        tries: how often a question is sent before giving up.
        wait: seconds before the second try; doubles each time.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    tries: int = 5
    wait: float = 1.0


def chat(endpoint: Endpoint, messages: list[dict], *, max_tokens: int | None = None,
         temperature: float = 0.0) -> str:
    """What the model answers.

    Args:
        endpoint: where to ask.
        messages: the conversation so far.
        max_tokens: where the answer is cut; ``None`` leaves it to the endpoint.
        temperature: 0 is greedy.

    Raises:
        ChatError: a wrong address or key, an answer in another form, or no answer after all tries.
    """
    if urlsplit(endpoint.url).scheme not in ("http", "https"):
        raise ChatError(f"{endpoint.url!r} is no address; give one such as http://host:8000/v1")
    url = endpoint.url.rstrip("/") + "/chat/completions"
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    body = json.dumps({"model": endpoint.model, "messages": messages, "temperature": temperature,
                       **limit}).encode()
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    reason, wait = "", endpoint.wait
    for tried in range(1, endpoint.tries + 1):
        asked_for = None
        try:
            with urlopen(Request(url, body, headers), timeout=endpoint.timeout) as reply:
                return _said(url, reply.read(_MOST_BYTES))
        except HTTPError as error:
            reason = f"HTTP {error.code}: {_short(error.read(2000))}"
            if error.code not in _PASSING:
                raise ChatError(f"{url} refuses ({reason}); check address, model and key") from None
            asked_for = error.headers.get("Retry-After")
        except (URLError, HTTPException, OSError) as error:
            reason = _short(str(getattr(error, "reason", error) or type(error).__name__).encode())
        if tried < endpoint.tries:
            pause = float(asked_for) if (asked_for or "").isdigit() else wait
            time.sleep(min(pause, _MOST_WAIT))
            wait *= 2
    raise ChatError(f"{url} did not answer in {endpoint.tries} tries ({reason}); what was said "
                    f"is kept: run the same command again to go on")


def _said(url: str, data: bytes) -> str:
    try:
        said = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        said = None
    if not isinstance(said, str):
        raise ChatError(f"{url} answers in another form ({_short(data)}); is it an "
                        f"OpenAI-compatible chat endpoint?")
    return said


def _short(data: bytes) -> str:
    text = " ".join(data.decode("utf-8", "replace").split())[:200]
    return "".join(c if c.isprintable() else "\ufffd" for c in text) or "no text"
