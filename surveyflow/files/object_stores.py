"""Files behind ``s3://`` and ``gs://``, read by ranges through fsspec.

Keys, profiles, endpoints and whether access is anonymous come from the environment, as s3fs and gcsfs read it: ``AWS_PROFILE``,
``AWS_ENDPOINT_URL``, ``FSSPEC_S3_ANON=true``, ``GOOGLE_APPLICATION_CREDENTIALS`` and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from surveyflow.files.addresses import Address, redacted
from surveyflow.files.transfers import MOST_BYTES, RemoteState, Replaced, Unreachable, Unsteady

PIECE_BYTES = 2**23
"""Size of the pieces in which a whole file is read."""
_TAGS, _TIMES = ("ETag", "etag", "generation"), ("LastModified", "updated", "mtime")
_ANONYMOUS = {"s3": "For a public bucket, set FSSPEC_S3_ANON=true", "gs": "For a public bucket, set FSSPEC_GS_TOKEN=anon"}


class ObjectStores:
    """Files behind ``s3://`` and ``gs://``."""

    def state(self, address: Address) -> RemoteState:
        """Ask for a file's size, date and ETag."""
        with _explained(address):
            store = _store(address.scheme)
            store.invalidate_cache()
            found = store.info(address.url)
        size = found.get("size")
        if found.get("type") != "file" or not isinstance(size, int) or not 0 <= size <= MOST_BYTES:
            raise Unreachable("there is no such file in the bucket. Correct the address")
        tag = next((str(found[key]) for key in _TAGS if found.get(key)), "")
        return RemoteState(size, _time_ns(next((found[key] for key in _TIMES if found.get(key)), None)), tag, by_ranges=True)

    def read(self, address: Address, start: int, stop: int, expected: RemoteState) -> bytes:  # noqa: ARG002 - see check_unchanged
        """Read a range."""
        with _explained(address):
            content: bytes = _store(address.scheme).cat_file(address.url, start=start, end=stop)
        if len(content) != stop - start:
            raise Unsteady(f"the store sent {len(content):,} of {stop - start:,} bytes")
        return content

    def stream(self, address: Address, start: int, expected: RemoteState) -> Iterator[bytes]:
        """Read from a byte to the end."""
        size = expected.size or 0
        for place in range(start, size, PIECE_BYTES):
            yield self.read(address, place, min(place + PIECE_BYTES, size), expected)
        self.check_unchanged(address, expected)

    def check_unchanged(self, address: Address, expected: RemoteState) -> None:
        """Compare the file's present state with the one that was read: equal before and after means that nothing was mixed."""
        if self.state(address) != expected:
            raise Replaced("it was replaced in its bucket while it was read (another ETag, date or size). Run again")


@cache
def _store(scheme: str) -> Any:
    import fsspec

    return fsspec.filesystem(scheme, use_listings_cache=False)


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Replace what the stores' libraries raise; whatever they do not name as final may pass."""
    try:
        yield
    except (Unreachable, ImportError):
        raise
    except FileNotFoundError:
        raise Unreachable("there is no such file in the bucket. Correct the address") from None
    except PermissionError:
        raise Unreachable(
            f"the store refuses access. Check the credentials in the environment. {_ANONYMOUS[address.scheme]}"
        ) from None
    except Exception as error:  # noqa: BLE001 - their libraries raise whatever they happen to raise
        if "credentials" in str(error).lower():
            remedy = f"Set them, or download the file. {_ANONYMOUS[address.scheme]}"
            raise Unreachable(f"the environment holds no credentials for it. {remedy}") from None
        raise Unsteady(
            f"the store cannot be read ({type(error).__name__}: {redacted(' '.join(str(error).split()))[:200]})"
        ) from None


def _time_ns(stated: Any) -> int:
    try:
        moment = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
        return int((moment.timestamp() if isinstance(moment, datetime) else float(moment)) * 1000) * 10**6
    except (TypeError, ValueError, OverflowError):
        return 0
