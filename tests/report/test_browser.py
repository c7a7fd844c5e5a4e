"""The page in a real browser: it loads, complains of nothing, shows its pictures and fits a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from overtone.report.page import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome on this machine"
)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
]
# A headless window cannot be made narrower than 500 pixels, so that the phone is a frame of 390.
PHONE = """<!DOCTYPE html><title>waiting</title>
<iframe id="phone" src="report.html" style="width: 390px; height: 800px; border: 0"></iframe>
<script>
  window.addEventListener("message", (event) => { document.title = event.data; });
</script>"""
MEASURE = """<script>
  window.addEventListener("load", () => {
    const page = document.documentElement;
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    const free = [...document.querySelectorAll("main *")].filter((element) => element.closest(".scroll") === null);
    const tables = [...document.querySelectorAll("table.figures")];
    const figures = {
      window: window.innerWidth,
      client: page.clientWidth,
      scroll: page.scrollWidth,
      images: document.images.length,
      loaded: [...document.images].filter((image) => image.complete && image.naturalWidth > 0).length,
      beyond: free.filter((element) => element.getBoundingClientRect().right > page.clientWidth + 0.5)
        .map((element) => element.outerHTML.slice(0, 80)),
      tables: tables.map((table) => table.scrollWidth - table.parentElement.clientWidth),
      ran: typeof window.gotcha !== "undefined",
    };
    document.title = JSON.stringify(figures);
    window.parent.postMessage(document.title, "*");
  });
</script>"""


def browse(path: Path, *flags: str) -> tuple[str, str]:
    """Return the page's DOM after loading and what the browser's console said."""
    assert BROWSER is not None
    profile = path.parent / "profile"
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def measure(report, folder: Path, *, phone: bool, flags: tuple[str, ...] = ()) -> dict:
    """Return what a script sees in a copy of the page, from which the rule against scripts is taken."""
    path = write_report(report, folder / "report.html")
    text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", path.read_text("utf-8"))
    path.write_text(text.replace("</body>", MEASURE + "</body>"), "utf-8")
    if phone:
        path = folder / "phone.html"
        path.write_text(PHONE)
    dom, console = browse(path, "--virtual-time-budget=5000", *flags)
    assert console == ""
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def test_console_stays_silent(hostile, tmp_path):
    dom, console = browse(write_report(hostile, tmp_path / "report.html"))
    assert console == ""
    assert 'id="skipped"' in dom  # the last section: nothing ended the page early


def test_console_is_really_read(tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<script>nothing.here()</script>")
    assert "nothing is not defined" in browse(path)[1]


@pytest.mark.parametrize("phone", [True, False])
def test_hostile_page_fits_and_shows_its_pictures(hostile, tmp_path, phone):
    seen = measure(hostile, tmp_path, phone=phone, flags=() if phone else ("--window-size=1200,900",))
    assert seen["window"] == (390 if phone else 1200)
    assert seen["scroll"] <= seen["client"]  # the window less the scroll bar
    assert seen["beyond"] == []
    exchanged = 3 * len(hostile.sensitivity.views)
    expected = 2 * len(hostile.confused) + len(hostile.mistakes) + 5 * len(hostile.streams) + exchanged
    assert seen["images"] == seen["loaded"] == expected
    assert not seen["ran"]


def test_tables_of_figures_fit_a_phone_without_scrolling(plain, tmp_path):
    assert max(measure(plain, tmp_path, phone=True)["tables"]) <= 0


def test_it_has_a_dark_side(plain, tmp_path):
    from PIL import Image

    path = write_report(plain, tmp_path / "report.html")
    brightness = []
    for scheme in (1, 0):  # Blink counts dark as 0 and light as 1
        shot = tmp_path / f"{scheme}.png"
        browse_to_file = ["--window-size=1200,900", f"--blink-settings=preferredColorScheme={scheme}"]
        browse(path, *browse_to_file, f"--screenshot={shot}")
        brightness.append(Image.open(shot).convert("L").resize((1, 1)).getpixel((0, 0)))
    assert brightness[0] > 200
    assert brightness[1] < 60
