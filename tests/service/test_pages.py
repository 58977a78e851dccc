"""What a coder sees in a browser; needs Debian's package chromium."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.service.desk import Desk
from tests.service.browser import CHROMIUM, Browser
from tests.service.desks import desk_of, proposal
from tests.service.serving import serving

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

READY = "document.readyState === 'complete' && "
CONTRASTS = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (node) => { while (node) { const rgb = parse(getComputedStyle(node).backgroundColor);
    if (rgb.length < 4 || rgb[3] > 0) return rgb; node = node.parentElement; } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() &&
    [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())).map((node) => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(back(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.tagName + ': ' + node.textContent.trim().slice(0, 40)]; });
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def desk(browser: Browser, tmp_path: Path) -> Iterator[tuple[str, Desk]]:
    """Somebody has logged in and sees the worklist of the address."""
    cases = {"c1": proposal("291", "292", "313"), "c2": proposal("313"), "c3": proposal(reasons=("no section: x",))}
    app, desk = desk_of(tmp_path / "log", proposals=cases)
    with serving(app) as port:
        browser.size(1280)
        browser.open(f"http://127.0.0.1:{port}/desk/login")
        browser.run("document.querySelector('[name=name]').value = 'Ann'")
        browser.run("document.querySelector('main form').requestSubmit()")
        browser.wait(READY + "location.pathname === '/desk'")
        yield f"http://127.0.0.1:{port}/desk", desk
    desk.log.close()


def key(browser: Browser, name: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text=text)


def test_a_case_is_opened_and_accepted_by_keys_alone_and_a_double_press_counts_once(
    browser: Browser, desk: tuple[str, Desk]
) -> None:
    for name, wanted in (("c1", "a[href$='id=c1']"), ("accept", "[value=accept]")):
        for _ in range(30):
            key(browser, "Tab", 9)
            if browser.run(f'document.activeElement.matches("{wanted}")'):
                break
        assert browser.run(f'document.activeElement.matches("{wanted}")'), name
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        key(browser, "Enter", 13, "\r")
        if name == "c1":
            browser.wait(READY + "location.search === '?id=c1'")
        else:
            key(browser, "Enter", 13, "\r")
    browser.wait(READY + "location.search.includes('id=c2')")
    assert "Recorded for c1: accept 291." in browser.run("document.body.innerText")
    assert [number for number, _ in desk[1].log.last().values()] == [1]
    browser.run("history.back()")
    browser.wait(READY + "document.body.innerText.includes('Ann: accept 291')")


def test_a_lost_network_says_so_and_what_was_typed_stays(browser: Browser, desk: tuple[str, Desk]) -> None:
    browser.open(desk[0] + "/case?id=c1")
    browser.wait(READY + "document.querySelector('[value=override]') !== null")
    browser.run("document.querySelector('[name=drg]').value = '292'")
    browser.run("document.querySelector('[name=reason]').value = 'my words'")
    browser.call("Network.enable")
    lost = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.call("Network.emulateNetworkConditions", offline=True, **lost)
    browser.run("document.querySelector('[value=override]').click()")
    browser.wait("document.getElementById('alert').innerText.startsWith('No connection to the service.')")
    assert browser.run("document.querySelector('[name=reason]').value") == "my words"
    assert desk[1].log.last() == {}
    browser.call("Network.emulateNetworkConditions", offline=False, **lost)
    browser.run("document.querySelector('[value=override]').click()")
    browser.wait(READY + "location.search.includes('id=c2')")
    assert desk[1].log.last()["c1"][1].reason == "my words"


def test_pages_fit_a_phone_have_contrast_and_run_no_script_of_a_note(browser: Browser, desk: tuple[str, Desk]) -> None:
    for address, words in ((desk[0], "Worklist"), (desk[0] + "/case?id=c1", "Marked is what the model used")):
        browser.open(address)
        browser.wait(READY + f"document.body.innerText.includes('{words}')")
        for width in (360, 1280):
            for dark in (False, True):
                browser.size(width, dark=dark)
                assert browser.run("document.documentElement.scrollWidth") <= width
                contrasts = browser.run(CONTRASTS)
                assert len(contrasts) > 15
                assert min(contrasts)[0] >= 4.5, min(contrasts)
    browser.size(1280)
    assert "<script>alert(1)</script>" in browser.run("document.querySelector('.note').innerText")
    browser.size(800, media="print")
    assert browser.run("getComputedStyle(document.querySelector('form')).display") == "none"
    assert browser.run("getComputedStyle(document.querySelector('.note')).maxHeight") == "none"
    browser.size(1280)


def test_nothing_is_loaded_from_elsewhere() -> None:
    folder = Path(__file__).parents[2] / "src" / "service"
    texts = [path.read_text("utf-8") for kind in ("j2", "css", "js") for path in folder.glob(f"*.{kind}")]
    assert len(texts) > 6
    assert not any(re.search(r"https?://|//\w+\.\w+/", text) for text in texts)
