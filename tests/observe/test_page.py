import base64
import hashlib
import re

import pytest

from bridge.observe.page import load_page

DOCUMENT = load_page().body.decode()
SCRIPT = DOCUMENT.partition("<script>")[2].partition("</script>")[0]
STYLE = DOCUMENT.partition("<style>")[2].partition("</style>")[0]


@pytest.mark.parametrize(("directive", "text"), [("script-src", SCRIPT), ("style-src", STYLE)])
def test_the_policy_names_the_digest_of_what_is_sent_and_nothing_else(
    directive: str, text: str
) -> None:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert f"{directive} 'sha256-{digest}'" in load_page().policy.split("; ")


def test_the_page_names_no_resource_outside() -> None:
    assert [] == re.findall(r"https?:|//[a-z]|@import|url\(", re.sub(r"(?m)^\s*//.*", "", DOCUMENT))
    assert ["data:,"] == re.findall(
        r'<(?:link|img|script|iframe)[^>]+(?:href|src)="([^"]*)"', DOCUMENT
    )


def test_the_script_makes_text_and_never_markup() -> None:
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|Fragment\("
    code = r"eval\(|Function\(|\.on[a-z]+ ="

    assert [] == re.findall(f"{markup}|{code}", SCRIPT)


def test_every_element_that_the_script_asks_for_is_in_the_document() -> None:
    asked = set(re.findall(r'(?:byId|tell|fill|showDevices)\("([a-z0-9-]+)"', SCRIPT))
    present = set(re.findall(r'\bid="([a-z0-9-]+)"', DOCUMENT))

    assert set() == asked - present
    assert len(asked) > 20
