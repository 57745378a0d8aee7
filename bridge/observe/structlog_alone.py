"""structlog, without what it imports for terminals that a daemon does not write to.

structlog's console writers import rich, which only `top` wants, and pygments with it: 2.6 MB of
resident memory, and part of each start. Nothing of them is used here.
"""

import sys

_is_imported = "rich" in sys.modules
if not _is_imported:
    sys.modules["rich"] = None  # type: ignore[assignment]  # import takes it for "not there"
try:
    import structlog
finally:
    if not _is_imported:
        del sys.modules["rich"]

__all__ = ["structlog"]
