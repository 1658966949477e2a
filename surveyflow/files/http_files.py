"""Files behind ``https://`` and ``http://``, read by ranges.

A server is not believed: each answer must state the very range that was asked for, and size, ETag and date of the file that was
opened, and be exactly as long. Nothing is unpacked on the way. A redirection must lead to another web address, and never from an
encrypted address to an open one. Proxies, ``~/.netrc`` and certificates are those of the environment, as for ``requests``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from surveyflow.files.addresses import Address, redacted
from surveyflow.files.transfers import MOST_BYTES, RemoteState, Replaced, Unreachable, Unsteady

if TYPE_CHECKING:
    from requests import Response, Session

TIMEOUT_S = (20.0, 60.0)
"""Seconds until a connection must stand, and in which some bytes must come."""
LONGEST_REQUEST_S = 900.0
"""Seconds after which one answer must be complete; a server that sends a byte now and then does not hold a run up for ever."""
MOST_REDIRECTIONS = 5
PIECE_BYTES = 2**20
"""Size of the pieces in which an answer is read."""

_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-(?P<last>\d{1,18})/(?P<size>\d{1,18})")
_MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
_OF_THREAD = threading.local()
_REMEDIES = {
    401: "The server wants a password: put it into ~/.netrc",
    403: "The server refuses it: check the address, or ask for access; a signed address expires",
    404: "There is no such file: correct the address",
    410: "The file was removed: look for its new address",
}


class HttpFiles:
    """Files behind ``https://`` and ``http://``."""

    def state(self, address: Address) -> RemoteState:
        """Ask for one byte: signed addresses often allow no other kind of question, and the answer shows whether ranges work."""
        with _answer(address, {"Range": "bytes=0-0"}, range_expected=False) as answer:
            if answer.status_code == 206:
                found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                return _state(answer.headers, None if found is None else int(found["size"]), by_ranges=found is not None)
            if answer.status_code == 416:
                return _state(answer.headers, 0, by_ranges=True)
            return _state(answer.headers, _whole_number(answer.headers.get("Content-Length")), by_ranges=False)

    def read(self, address: Address, start: int, stop: int, expected: RemoteState) -> bytes:
        """Read a range; the answer must be of the file that was opened."""
        with _answer(address, {"Range": f"bytes={start}-{stop - 1}"}) as answer:
            _check_part(answer, start, stop, expected)
            return b"".join(_pieces(answer, stop - start))

    def stream(self, address: Address, start: int, expected: RemoteState) -> Iterator[bytes]:
        """Read from a byte to the end; the answer must be of the file that was opened."""
        ranged = {"Range": f"bytes={start}-"} | _if_same(expected) if start else {}
        with _answer(address, ranged, packed_allowed=address.name.endswith(".gz"), range_expected=False) as answer:
            if start and answer.status_code != 206:
                raise Replaced("it was replaced on the server before all of it came. Run again")
            if start and expected.size is not None:
                _check_part(answer, start, expected.size, expected)
            _check_same(_state(answer.headers, expected.size, by_ranges=expected.by_ranges), expected)
            yield from _pieces(answer, None if expected.size is None else expected.size - start)

    def check_unchanged(self, address: Address, expected: RemoteState) -> None:
        """Do nothing: every answer was compared."""


def _if_same(expected: RemoteState) -> dict[str, str]:
    """The condition under which the server may send a part; without it, it sends the whole file."""
    return {"If-Range": expected.tag} if expected.tag and not expected.tag.startswith("W/") else {}


def _session() -> Session:
    """The connections of the calling thread."""
    if not hasattr(_OF_THREAD, "session"):
        from requests import Session

        _OF_THREAD.session = Session()
        _OF_THREAD.session.headers.update({"Accept-Encoding": "identity", "User-Agent": "surveyflow"})
    session: Session = _OF_THREAD.session
    return session


@contextmanager
def _answer(
    address: Address, headers: Mapping[str, str], *, packed_allowed: bool = False, range_expected: bool = True
) -> Iterator[Response]:
    """The answer to a request, after redirections; refused unless it may hold what was asked for."""
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        answer = _followed(address.url, headers)
        with answer:
            _check_status(answer, range_expected=range_expected)
            if not packed_allowed and answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Unreachable("the server packs it on the way, so that its size means nothing. Download it by other means")
            yield answer
    except (RequestException, HTTPError, ConnectionError, TimeoutError) as error:
        raise _of_network(error) from None


def _of_network(error: Exception) -> Unreachable:
    text = redacted(" ".join(str(error).split()))
    if "Name or service not known" in text or "name resolution" in text.lower() or "nodename nor servname" in text:
        return Unreachable("its host is not known here: correct the address, or connect to the network, then download it")
    kind = type(error).__name__
    return Unsteady(f"the connection failed ({kind}: {text[:200]})")


def _followed(url: str, headers: Mapping[str, str]) -> Response:
    for _ in range(MOST_REDIRECTIONS + 1):
        answer = _session().get(url, headers=dict(headers), stream=True, timeout=TIMEOUT_S, allow_redirects=False)
        if not answer.is_redirect:
            return answer
        target = urljoin(url, answer.headers["location"])
        answer.close()
        _check_redirection(url, target)
        url = target
    raise Unreachable(f"the server redirects more than {MOST_REDIRECTIONS} times. Name the final address")


def _check_redirection(url: str, target: str) -> None:
    before, after = urlsplit(url).scheme, urlsplit(target).scheme
    if after not in {"https", before}:
        raise Unreachable(
            f"the server redirects from {before}:// to {redacted(target)[:200]!r}, which is not followed. Name its address"
        )


def _check_status(answer: Response, *, range_expected: bool) -> None:
    status = answer.status_code
    if status in _MAY_PASS:
        raise Unsteady(f"the server answers {status}", _whole_number(answer.headers.get("Retry-After")))
    if status == 412 or (status == 416 and range_expected):
        raise Replaced("it was replaced on the server while it was read. Run again")
    if status >= 400 and status != 416:
        raise Unreachable(f"the server answers {status}. {_REMEDIES.get(status, 'Check the address')}")
    if range_expected and status != 206:
        raise Unreachable("the server sends only whole files. Download it, and name the local file")


def _check_part(answer: Response, start: int, stop: int, expected: RemoteState) -> None:
    stated = answer.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(stated)
    if found is None or (int(found["first"]), int(found["last"]) + 1) != (start, stop):
        if found is not None and int(found["size"]) != expected.size:
            raise Replaced(
                f"it had {expected.size:,} bytes and now has {int(found['size']):,}: replaced while it was read. Run again"
            )
        raise Unreachable(
            f"the server was asked for bytes {start} to {stop - 1} and sends {stated[:80]!r}. Download it by other means"
        )
    _check_same(_state(answer.headers, int(found["size"]), by_ranges=True), expected)


def _check_same(found: RemoteState, expected: RemoteState) -> None:
    if (found.size, found.tag, found.modified_ns) != (expected.size, expected.tag, expected.modified_ns):
        raise Replaced("it was replaced on the server while it was read (another ETag, date or size). Run again")


def _pieces(answer: Response, n_bytes: int | None) -> Iterator[bytes]:
    """The content, which must have this length; any length up to a limit if None."""
    deadline, left = time.monotonic() + LONGEST_REQUEST_S, MOST_BYTES if n_bytes is None else n_bytes
    while left and (piece := answer.raw.read(min(left, PIECE_BYTES), decode_content=False)):
        left -= len(piece)
        yield piece
        if time.monotonic() > deadline:
            raise Unsteady(f"the answer is not complete after {LONGEST_REQUEST_S:g} s")
    if n_bytes is not None and left:
        raise Unsteady(f"the answer ends after {n_bytes - left:,} of {n_bytes:,} bytes")
    if n_bytes is not None and answer.raw.read(1, decode_content=False):
        raise Unreachable(f"the server sends more than the {n_bytes:,} bytes that it stated. Download it by other means")


def _state(headers: Mapping[str, str], size: int | None, *, by_ranges: bool) -> RemoteState:
    if size is not None and size > MOST_BYTES:
        raise Unreachable(f"the server states {size:,} bytes, which is not believed. Check the address")
    return RemoteState(size, _time_ns(headers.get("Last-Modified", "")), headers.get("ETag", "")[:1000], by_ranges)


def _time_ns(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 10**9
    except (TypeError, ValueError, OverflowError):
        return 0


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= 18 else None
