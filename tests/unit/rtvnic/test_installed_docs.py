"""What an installation has of docs: links between its pages lead somewhere."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def installed() -> dict[Path, Path]:
    """By the path below share/doc/rtvnic: the page that goes there."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    places = setup["options.data_files"].items()
    return {
        Path(place).relative_to("share/doc/rtvnic") / page.name: page
        for place, pattern in places
        if Path(place).is_relative_to("share/doc/rtvnic")
        for page in ROOT.glob(pattern.strip())
    }


def test_every_page_is_installed_where_it_is_here() -> None:
    assert installed() == {page.relative_to(DOCS): page for page in DOCS.rglob("*.md")}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_between_pages_lead_to_a_page(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
