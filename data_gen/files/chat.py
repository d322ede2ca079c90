"""Ask a chat model behind an OpenAI-compatible endpoint, with the standard library only."""

import json
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from data_gen.files.errors import InputError

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same question is sent again."""

_MAX_WAIT = 60.0  # seconds, however long an endpoint asks to wait
_MAX_BYTES = 8 * 1024**2


class ChatError(InputError):
    """The endpoint gives no answer. The message says what it sent and what to do."""


@dataclass(frozen=True)
class Endpoint:
    """A chat model and where it is served.

    Args:
        url: address up to the version: ``http://host:8000/v1``.
        model: name of the model there.
        key: sent as a bearer token if given; never shown.
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


def chat(
    endpoint: Endpoint,
    messages: list[dict],
    *,
    max_tokens: int | None = None,
    temperature: float = 0.0,
) -> str:
    """The model's answer.

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
    body = json.dumps(
        {"model": endpoint.model, "messages": messages, "temperature": temperature, **limit}
    ).encode()
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    reason, wait = "", endpoint.wait
    for tried in range(1, endpoint.tries + 1):
        retry_after = None
        try:
            with urlopen(Request(url, body, headers), timeout=endpoint.timeout) as reply:
                return _content(url, reply.read(_MAX_BYTES))
        except HTTPError as error:
            reason = f"HTTP {error.code}: {_short(error.read(2000))}"
            if error.code not in _RETRIED:
                raise ChatError(f"{url} refuses ({reason}); check address, model and key") from None
            retry_after = error.headers.get("Retry-After")
        except (URLError, HTTPException, OSError) as error:
            reason = _short(str(getattr(error, "reason", error) or type(error).__name__).encode())
        if tried < endpoint.tries:
            pause = float(retry_after) if retry_after and retry_after.isdigit() else wait
            time.sleep(min(pause, _MAX_WAIT))
            wait *= 2
    raise ChatError(
        f"{url} did not answer in {endpoint.tries} tries ({reason}); earlier "
        f"answers are kept: run the same command again to resume"
    )


def _content(url: str, data: bytes) -> str:
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        content = None
    if not isinstance(content, str):
        raise ChatError(
            f"{url} answers in another form ({_short(data)}); is it an "
            f"OpenAI-compatible chat endpoint?"
        )
    return content


def _short(data: bytes) -> str:
    text = " ".join(data.decode("utf-8", "replace").split())[:200]
    return "".join(c if c.isprintable() else "\ufffd" for c in text) or "no text"
