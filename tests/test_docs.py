"""The pages made from the code are those of the code; the others name only what exists."""

import importlib.util
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from relay.checks.catalogue import SESSION
from relay.jobs.intake import DOORS
from relay.stores.leave import Source

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tests" / "generate_docs.py")
assert _spec is not None
assert _spec.loader is not None
generate: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


@pytest.mark.parametrize(("name", "text"), generate.pages().items(), ids=generate.pages())
def test_a_generated_page_is_up_to_date(name: str, text: str) -> None:
    path = ROOT / name
    assert path.exists() and path.read_text() == text, f"{name} is not what the code says: make docs"


@pytest.mark.parametrize(
    ("page", "begins", "ends", "known"),
    [
        ("unsubscribe.md", "`source` is ", "\n\n", get_args(Source)),
        ("webhooks.md", "| `unsubscribe` |", "|\n", get_args(Source)),
        ("webhooks.md", "| `complaint` |", "|\n", DOORS),
    ],
)
def test_where_an_opt_out_or_a_complaint_can_come_from_is_described(
    page: str, begins: str, ends: str, known: tuple[str, ...]
) -> None:
    text = (ROOT / "docs" / page).read_text().partition(begins)[2].partition(ends)[0]
    said = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.partition("source")[2] or text))
    assert set(known) <= said


def test_every_session_check_is_described() -> None:
    assert set(generate.SESSION_WORDS) == set(SESSION)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    """`relay/...`, `tests/...`, `config/...`, `docs/...` in code style."""
    for name in re.findall(r"`((?:relay|tests|config|docs)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name.rstrip("/.")).exists(), f"{name} in {page.name}"
