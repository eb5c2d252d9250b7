"""The report of the published run, made from a clone without training and seen in a browser."""

import os
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import ROOT, child_seconds, copy_repository, jobs, snakemake

CONFIG = ("--configfile", "published.yaml")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHAPTERS = ["1. Claims", "2. Accuracy", "3. Ablation", "4. Sweeps", "5. Energy", "6. GLUE"]
CHAPTERS += ["7. Training", "8. Inside the student"]
# An entry of a chapter has two buttons, the page of one result a single one.
LISTED = "count => document.querySelectorAll('nav tbody tr a').length === 2 * count"
TABLES = ("claims", "accuracy", "ablation", "variants", "energy", "training_cost")

pytestmark = pytest.mark.slow


def is_published(row: dict[str, Any]) -> bool:
    names = product(row["datasets"], row["models"], [row.get("variant", "base")], row["seeds"])
    records = ROOT / "results/small/records"
    return all((records / "{}.{}.{}.s{}.json".format(*name)).is_file() for name in names)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone with the published results of one run, and its configuration: those rows of
    `runs` whose records are all published, should others be still at work."""
    folder = copy_repository(tmp_path_factory.mktemp("report"))
    config = yaml.safe_load((ROOT / "config/small.yaml").read_text("utf-8"))
    config["runs"] = list(filter(is_published, config["runs"]))
    assert config["runs"]
    (folder / "published.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    shutil.copytree(ROOT / "results/small", folder / "results/small", copy_function=shutil.copyfile)
    return folder


@pytest.fixture(scope="module")
def seconds(clone: Path) -> float:
    """What the figures took. Tables and figures are all made again, where torch cannot be
    imported."""
    for kind in ("figures", "tables"):
        shutil.rmtree(clone / "results/small" / kind)
    absent = clone / "absent"
    for name in ("torch", "transformers"):
        (absent / name).mkdir(parents=True)
        (absent / name / "__init__.py").write_text(f"raise ImportError('no {name} here')\n")
    before = child_seconds()
    snakemake(clone, "figures", "--cores", "1", *CONFIG, PYTHONPATH=str(absent))
    taken = child_seconds() - before
    snakemake(clone, "tables", "--cores", "1", *CONFIG, PYTHONPATH=str(absent))
    return taken


@pytest.fixture(scope="module")
def report(clone: Path, seconds: float) -> Path:
    assert seconds
    snakemake(clone, "tables", "figures", *CONFIG, "--report", "report.html")
    return clone / "report.html"


def test_tables_and_figures_need_neither_torch_nor_long(clone: Path, seconds: float) -> None:
    assert seconds < 30
    made = {path.name for path in (clone / "results/small/figures").iterdir()}
    published = {path.name for path in (ROOT / "results/small/figures").iterdir()}
    assert made == {name for name in published if not name.startswith("bench.")}


def test_published_tables_are_those_of_the_published_records(clone: Path, seconds: float) -> None:
    assert seconds
    for path in (ROOT / "results/small/tables").iterdir():
        made = clone / "results/small/tables" / path.name
        assert made.read_text("utf-8") == path.read_text("utf-8"), path.name


def test_what_figures_are_drawn_with_reruns_figures_alone(clone: Path, seconds: float) -> None:
    """A new caption, colour or line of code in style.py touches no record."""
    assert seconds
    assert jobs(clone, "figures", "tables", *CONFIG) == {}
    source = clone / "spikebert/report/style.py"
    source.write_text(source.read_text("utf-8").replace("#CC79A7", "#D55E00"), "utf-8")
    caption = clone / "workflow/report/accuracy_figure.rst"
    caption.write_text(caption.read_text("utf-8") + "\nOther words.\n", "utf-8")
    assert jobs(clone, "figures", "tables", *CONFIG) == {}
    drawn = ("accuracy_and_curves", "sweep_figures", "calibration_figure", "probe_figures")
    again = jobs(clone, "figures", "tables", *CONFIG, "--forcerun", *drawn)
    assert again == dict.fromkeys(drawn, 1)


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium. Where there is none the tests are skipped, unless one was promised."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_browser()
    if path is None:
        words = f"none of {', '.join(BROWSERS)} in PATH: `make browser` installs one on Debian"
        if os.environ.get("SPIKEBERT_BROWSER"):
            pytest.fail(words)
        pytest.skip(words)
    with sync_api.sync_playwright() as playwright:
        # A container gives no sandbox, and the page is ours.
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, opened. Afterwards nothing may have gone wrong, nor been asked of a network."""
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.set_default_timeout(120_000)  # milliseconds, for machines at work
    wrong: list[str] = []
    opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url),
    )
    opened.goto(report.as_uri())
    opened.get_by_text(CHAPTERS[0], exact=True).wait_for()
    yield opened
    opened.close()
    assert wrong == []


def entries(page: Any) -> Any:
    """The rows of the open chapter."""
    return page.locator("nav").first.locator("tbody tr")


def test_the_claim_sheet_comes_first(page: Any) -> None:
    menu = page.locator("nav").first.inner_text().splitlines()
    assert [line for line in menu if re.match(r"\d+\. ", line)] == CHAPTERS
    front = page.locator(".prose").first
    heading = front.locator("h1").first
    assert heading.inner_text() == "What the paper claims, and what was found here"
    assert heading.bounding_box()["y"] >= 0  # not cut off at the top
    assert re.search(r"Of the \d+ claims: \d+ held, \d+ not held, ", front.inner_text())
    verdicts = {row.split("\t")[-1] for row in front.locator("tbody").inner_text().splitlines()}
    assert verdicts <= {"held", "not held", "undecided", "cannot be judged"}
    assert "MR, movie review sentences" in front.inner_text()
    page.get_by_text(CHAPTERS[0], exact=True).click()
    entries(page).first.wait_for()
    assert entries(page).first.inner_text().strip() == "claim sheet"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_result_shows_with_its_caption(page: Any, chapter: str) -> None:
    page.get_by_text(chapter, exact=True).click()
    entries(page).first.wait_for()
    names = [name.strip() for name in entries(page).all_inner_texts()]
    assert names
    for number, name in enumerate(names):
        look, about = entries(page).nth(number).locator("a").all()
        if name.endswith("(CSV)"):
            assert look.get_attribute("href").startswith("data:text/csv")
        else:
            look.click()
            check_content(page)
        about.click()
        caption = page.locator("nav").first.locator(".prose")
        words = caption.inner_text()
        assert "small" in words, name  # the run
        assert "What was run:" in words, name
        assert "seeds 1, 2, 3, 4, 5" in words, name
        assert "student 4 x 128 (blocks x width), T = 4" in words, name
        page.evaluate("chapter => app.showCategory(chapter)", chapter)
        page.wait_for_function(LISTED, arg=len(names))


def check_content(page: Any) -> None:
    """What the eye opened: an image that is not broken, or a table with numbers to the right."""
    shown = page.locator("#app img[src^='data:image']:not(nav img), #app iframe").first
    shown.wait_for()
    if shown.evaluate("node => node.tagName") == "IMG":
        size = "node => node.decode().then(() => [node.naturalWidth, node.naturalHeight])"
        assert min(shown.evaluate(size)) > 100
        return
    table = page.frame_locator("iframe").first.locator("table")
    table.wait_for()
    cells = table.locator("tbody td")
    assert cells.count() > 10
    aligned = table.locator("th").evaluate_all(
        "cells => cells.map(cell => [cell.innerText, getComputedStyle(cell).textAlign])"
    )
    sides = dict(aligned)
    numbers = {"paper", "tokens", "paper_difference", "difference", "parameters"} & sides.keys()
    assert numbers
    assert {sides[name] for name in numbers} == {"right"}


def test_the_report_is_one_file(report: Path) -> None:
    text = report.read_text("utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', text)
    for name in TABLES:
        assert f"work/small/pages/{name}.html" in text
