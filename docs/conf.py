"""The documentation site: Sphinx with MyST (these pages are plain Markdown) and the theme Furo.

Chosen over MkDocs, whose 1.x is no longer maintained, and over its young successors: Sphinx has had releases for
eighteen years, builds offline, and its search works on pages opened from a folder. `make docs` builds it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "ToolFoundry"
author = "the ToolFoundry authors"
copyright = "the ToolFoundry authors, Apache-2.0"
extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "pages",  # _site/pages.py: reference and gallery, made while building
]
exclude_patterns = ["_site", "out"]

myst_heading_anchors = 4  # so that reward.md#frontier is a link, as on GitHub
myst_links_external_new_tab = False
smartquotes_action = "qe"  # not "D": --option is no dash
highlight_language = "none"  # blocks without a language are commands and what they print

html_theme = "furo"
html_title = "ToolFoundry"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2f5fb3", "color-brand-content": "#2f5fb3"},
    "dark_css_variables": {"color-brand-primary": "#86a9ee", "color-brand-content": "#86a9ee"},
    "navigation_with_keys": True,
}
