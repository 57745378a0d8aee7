"""The browser of the tests sees what it has to: a test that trusts it could not fail otherwise."""

from collections.abc import Iterator

import pytest

from tests.support.chromium import BrowserPage, Chromium, PageError
from tests.support.eventually import eventually
from tests.support.processes import free_port

POLICY = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"


@pytest.fixture
def page(chromium: Chromium) -> Iterator[BrowserPage]:
    with chromium.open_page() as page:
        yield page


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        pytest.param("<script>console.error('broken')</script>", "broken", id="console"),
        pytest.param("<script>throw new Error('thrown')</script>", "thrown", id="exception"),
        pytest.param(
            "<script>Promise.reject(new Error('rejected'))</script>", "rejected", id="promise"
        ),
        pytest.param(f"{POLICY}<script>1</script>", "Content Security Policy", id="policy"),
    ],
)
def test_what_goes_wrong_in_a_page_is_a_complaint(
    page: BrowserPage, document: str, complaint: str
) -> None:
    page.open(f"data:text/html,{document}")

    # A rejection that nobody took is told only some time after it.
    eventually(lambda: page.evaluate("1") and page.complaints, what="a complaint")
    assert [True] == [complaint in each for each in page.complaints]


def test_a_request_elsewhere_is_seen_though_nobody_answers_there(page: BrowserPage) -> None:
    elsewhere = f"http://127.0.0.1:{free_port()}/pixel"

    page.open(f"data:text/html,<img src={elsewhere}>")

    assert elsewhere in page.requests


def test_a_page_that_is_not_there_and_a_script_that_fails_are_errors(page: BrowserPage) -> None:
    with pytest.raises(PageError, match="ERR_CONNECTION_REFUSED"):
        page.open(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(PageError, match="nothing is not defined"):
        page.evaluate("nothing")


def test_a_page_has_the_screen_and_the_colours_that_a_test_gives_it(page: BrowserPage) -> None:
    page.resize(360, 740, is_phone=True)
    page.prefer("dark")

    assert 360 == page.evaluate("screen.width")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
