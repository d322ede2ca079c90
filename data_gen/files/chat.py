"""Ask a chat model behind an OpenAI-compatible endpoint, with the standard library only.

The key goes to the address that was given and nowhere else: redirects are not followed. It is
looked at before anything is sent, and taken out of everything that comes back.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from data_gen.files.errors import InputError
from data_gen.files.redaction import redacted
from rewards.parsing import answer_part

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same question is sent again."""

_REFUSED = (400, 413, 422)
"""HTTP statuses that are about what was asked."""

_MAX_WAIT = 60.0  # seconds, however long an endpoint asks to wait
_MAX_BYTES = 8 * 1024**2
_MAX_REASON = 64 * 1024  # bytes of a refusal that are read


class ChatError(InputError):
    """The endpoint gives no answer. The message says what it sent and what to do."""


class NoAnswer(ChatError):
    """This question has none: all tries timed out or failed, or the endpoint cannot take it, for
    example because it is too long. Another question may have one."""


@dataclass(frozen=True)
class Endpoint:
    """A chat model and where it is served.

    Args:
        url: address up to the version: ``http://host:8000/v1``.
        model: name of the model there.
        key: sent as a bearer token if given; never shown.
        timeout: seconds for an answer, from the first try to the last.
        tries: how often a question is sent before giving up.
        wait: seconds before the second try; doubles each time.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 300.0
    tries: int = 5
    wait: float = 1.0


def chat(
    endpoint: Endpoint,
    messages: list[dict],
    *,
    max_tokens: int | None = None,
    temperature: float = 0.0,
) -> str:
    """The model's answer, without reasoning (:func:`rewards.parsing.answer_part`).

    Args:
        endpoint: where to ask.
        messages: the conversation so far.
        max_tokens: where the answer is cut; ``None`` leaves it to the endpoint.
        temperature: 0 is greedy.

    Raises:
        ChatError: a wrong address or key, an answer in another form, or no answer after all tries
            or in time.
    """
    check_endpoint(endpoint)
    url = endpoint.url.rstrip("/") + "/chat/completions"
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    body = json.dumps(
        {"model": endpoint.model, "messages": messages, "temperature": temperature, **limit}
    ).encode()
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    request = Request(url, body, headers)
    until = time.monotonic() + endpoint.timeout
    reason, wait, tried = "", endpoint.wait, 0
    while tried < endpoint.tries and (left := until - time.monotonic()) > 0:
        tried += 1
        retry_after = None
        try:
            return _content(url, _sent(request, left), endpoint.key)
        except HTTPError as error:
            with error:
                reason = f"HTTP {error.code}: {_short(error.read(_MAX_REASON), endpoint.key)}"
            if 300 <= error.code < 400:
                raise ChatError(
                    f"{url} redirects elsewhere (HTTP {error.code}), and a key goes to no other "
                    f"place than it is for; give the address where the model is"
                ) from None
            if error.code not in _RETRIED:
                kind = NoAnswer if error.code in _REFUSED else ChatError
                raise kind(f"{url} refuses ({reason}); check address, model and key") from None
            retry_after = error.headers.get("Retry-After")
        except (URLError, HTTPException, OSError) as error:
            said = str(getattr(error, "reason", error) or type(error).__name__)
            reason = _short(said.encode("utf-8", "replace"), endpoint.key)
        pause = float(retry_after) if retry_after and retry_after.isdecimal() else wait
        if tried < endpoint.tries:
            time.sleep(max(0.0, min(pause, _MAX_WAIT, until - time.monotonic())))
            wait *= 2
    late = f" and {endpoint.timeout:g} seconds" if tried < endpoint.tries else ""
    if "refused" in reason.lower():  # nothing listens at that port
        reason += f"; is a server running there, such as `vllm serve {endpoint.model}`?"
    raise NoAnswer(
        f"{url} did not answer in {tried} tries{late} ({reason}); earlier "
        f"answers are kept: run the same command again to resume"
    )


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse an address or a key that cannot be one, before anything is sent.

    Raises:
        ChatError: which it is; the key is not shown.
    """
    url, key = endpoint.url, endpoint.key
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, good = None, False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise ChatError(
            f"{_short(url.encode('utf-8', 'replace'), key)!r} is no address; give one "
            "such as http://host:8000/v1"
        )
    if parts is not None and parts.username is not None:
        raise ChatError(
            f"the address of {parts.hostname} holds a user name or a password; give the key by an "
            "environment variable"
        )
    for place, char in enumerate(key or "", start=1):
        if not "!" <= char <= "~":
            raise ChatError(
                f"the key for {url} cannot be one: its character {place} of {len(key or '')} is "
                "a blank or no ASCII character; was it copied with a line's end or a quote?"
            )


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None  # then urllib raises the redirect as an HTTPError


def _sent(request: Request, seconds: float) -> bytes:
    """The answer to a request, in ``seconds`` at most.

    A socket's timeout is for each byte, so that a server may drip for ever: the request is made in
    a thread of its own, which is left behind when its time is over.
    """
    until = time.monotonic() + seconds
    outcome: list = []

    def send() -> None:
        try:
            with build_opener(_NoRedirects).open(request, timeout=seconds) as reply:
                data = b""
                while len(data) < _MAX_BYTES and time.monotonic() < until:
                    part = reply.read1(1 << 16)
                    if not part:
                        break
                    data += part
                outcome.append(data)
        except BaseException as error:  # raised again below, in the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome or time.monotonic() >= until:
        raise TimeoutError(f"no whole answer within {seconds:.0f} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _content(url: str, data: bytes, key: str | None) -> str:
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise ChatError(
            f"{url} answers in another form ({_short(data, key)}); is it an "
            f"OpenAI-compatible chat endpoint?"
        )
    content = answer_part(content)
    return content.replace(key, "[key]") if key and len(key) >= 8 else content


def _short(data: bytes, key: str | None) -> str:
    text = " ".join(redacted(data.decode("utf-8", "replace"), key).split())[:200]
    return "".join(c if c.isprintable() else "\ufffd" for c in text) or "no text"
