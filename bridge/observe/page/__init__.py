"""The status page: one document, self-contained, with a policy that lets it load nothing else.

Its parts are files beside this one. They are joined into one answer, so that the page needs one
request and no path of its own for each part; the policy names their digests, so that whatever a
device calls itself, no script but ours can run.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

_STYLE: Final = "/* status.css */"
_SCRIPT: Final = "/* status.js */"


class Page(msgspec.Struct, frozen=True):
    """The document as it is sent."""

    body: bytes
    policy: str
    """Its Content-Security-Policy."""


@cache
def load_page() -> Page:
    """Join the parts."""
    files = resources.files(__name__)
    html, style, script = (
        files.joinpath(name).read_text(encoding="utf-8")
        for name in ("status.html", "status.css", "status.js")
    )
    assert html.count(_STYLE) == html.count(_SCRIPT) == 1, "the parts of the page do not fit"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Page(html.replace(_STYLE, style).replace(_SCRIPT, script).encode(), policy)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
