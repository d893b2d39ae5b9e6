"""What an object store's errors mean and what to do, without what they tell of credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from aexp.errors import BadInput

__all__ = ["explained"]

LONGEST_REASON = 300

_KEYS_WRONG = (
    "the credentials are wrong: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and"
    " AWS_SESSION_TOKEN"
)
_DENIED = (
    "access is denied: the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY need the"
    " right to list the bucket (s3:ListBucket)"
)
_NO_BUCKET = "there is no such bucket: check its name and AWS_ENDPOINT_URL"
_OTHER_REGION = "the bucket is in another region: set AWS_REGION to it"
_NO_KEYS = (
    "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
    " AWS_SKIP_SIGNATURE=true for a public bucket"
)
_NOBODY_THERE = "nothing answers there: check AWS_ENDPOINT_URL and that the store is up"

# Codes of S3's errors, and of HTTP's where the store says no more.
_BY_CODE: Mapping[str, str] = {
    "NoSuchBucket": _NO_BUCKET,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "InvalidAccessKeyId": _KEYS_WRONG,
    "InvalidToken": _KEYS_WRONG,
    "SignatureDoesNotMatch": _KEYS_WRONG,
    "ExpiredToken": "the credentials have expired: fetch new ones",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "401": _KEYS_WRONG,
    "403": _DENIED,
    "404": _NO_BUCKET,
}
# Marks in the client's text, in the order in which they are looked for.
_BY_MARK: Sequence[tuple[str, str]] = (
    ("BareRedirect", _OTHER_REGION),
    ("kind: Connect", _NOBODY_THERE),
)
# Where a machine in the cloud asks for credentials of its own.
_METADATA_SERVICE = "/latest/"


@contextmanager
def explained(url: str, deadline_s: float) -> Iterator[None]:
    """Raise whatever a store at ``url`` raises as a BadInput of one line."""
    try:
        yield
    except BadInput:
        raise
    # A panic inside the client has a type of its own that is nowhere to import.
    except Exception as error:
        raise BadInput(f"cannot list {url}: {_reason(error, deadline_s)}") from error


def _reason(error: Exception, deadline_s: float) -> str:
    said, _, details = str(error).partition("\n\nDebug source")
    if _METADATA_SERVICE in said:
        return _NO_KEYS
    if isinstance(error, TimeoutError) or "kind: Timeout" in details:
        return (
            f"no answer within {deadline_s:g} s: check that the store is up, or give it more time"
            " with --set deadline_s=SECONDS"
        )
    for mark, advice in _BY_MARK:
        if mark in details:
            return advice
    return _answer(said) or _own_words(said, details)


def _answer(said: str) -> str | None:
    """Say what the store's own answer means, if ``said`` has one."""
    status = re.search(r"status code: (\d{3})", said)
    code = re.search(r"<Code>(\w+)</Code>", said)
    names = [found[1] for found in (code, status) if found is not None]
    if not names:
        return None
    known = (_BY_CODE[name] for name in names if name in _BY_CODE)
    return next(known, f"the store answered {' '.join(names)}: try again when it is well")


def _own_words(said: str, details: str) -> str:
    said = " ".join(re.sub(r"^Generic \w+ error: ", "", said).split())
    if "InvalidPath" in details:
        said = f"there is a name that no key can have, rename it ({said})"
    return said[:LONGEST_REASON]
