import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden prompts anew, from the vendors' templates (needs trl and jinja2); review the diff",
    )
