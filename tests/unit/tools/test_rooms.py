"""What tools/rooms.py counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.rooms import layout, longest_chain

FILES = {
    "__main__.py": "from shop.cli import main",
    "cli/__init__.py": "",
    "cli/main.py": "import shop.model\nfrom shop.cli import words\nfrom shop.web.page import show\nimport os",
    "cli/words.py": "",
    "web/__init__.py": "",
    "web/page.py": "def show():\n    from shop import model",
    "model.py": "from collections import Counter",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "shop"


def test_a_room_is_a_package_or_a_module_beside_the_packages(shop: Path) -> None:
    assert layout(shop).modules == {"__main__": 1, "cli/": 3, "web/": 2, "model": 1}


def test_imports_within_a_room_and_of_other_packages_are_not_counted_and_those_in_functions_are(shop: Path) -> None:
    assert layout(shop).imports == {"__main__": {"cli/"}, "cli/": {"model", "web/"}, "web/": {"model"}, "model": set()}


def test_the_longest_chain_leads_from_room_to_room(shop: Path) -> None:
    assert longest_chain(layout(shop).imports) == ["__main__", "cli/", "web/", "model"]


def test_rooms_that_import_each_other_count_as_one() -> None:
    imports = {"top": {"a"}, "a": {"b"}, "b": {"a", "bottom"}, "bottom": set[str]()}
    assert longest_chain(imports) == ["top", "a + b", "bottom"]
