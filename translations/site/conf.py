"""Sphinx's settings that are the same in every language; `build.py` adds the rest."""

import json
from pathlib import Path

from docutils.languages import get_language

# A text of Sphinx that its scripts show after a search.
FOUND = "Search finished, found one page matching the search query."

extensions = ["myst_nb", "sphinx_copybutton"]
templates_path = ["templates"]
html_static_path = ["static"]

# Notebooks: the outputs are those of the run, nothing is executed here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "alert", "dollarmath", "html_image", "tasklist"]
myst_heading_anchors = 4
# A page in another language is not a page of this build, but a path beside it.
beside = {"url": "{{path}}", "classes": ["other-language"]}
myst_url_schemes = {"http": None, "https": None, "mailto": None, "site": beside}
mathjax_path = "../../vendor/mathjax/tex-chtml.js"

html_theme = "pydata_sphinx_theme"
html_favicon = "static/favicon.svg"
html_css_files = ["course.css"]
html_js_files = ["print.js"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
html_sidebars = {"**": ["lessons.html"]}
html_theme_options = {
    "article_header_start": [],
    "article_header_end": ["lesson-buttons.html"],
    "footer_end": [],
    "footer_start": [],
    "navbar_center": [],
    "navbar_persistent": ["search-button.html"],
    "navbar_end": ["languages.html", "theme-switcher.html"],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
}


def own_words(app, page: str, template: str, context: dict, doctree) -> None:
    """Takes myst-nb's English label off folded code, which hides the words in it."""
    if "body" in context:
        label = ' aria-label="Toggle hidden content"'
        context["body"] = context["body"].replace(label, "")


def setup(app) -> None:
    """Adds the texts that Sphinx's and the theme's catalogues lack."""
    # docutils lacks some languages, writes no text here, and warns: asked once before,
    # it has its English at hand and says nothing.
    get_language(app.config.language)
    app.connect("html-page-context", own_words)
    app.add_message_catalog("sphinx", Path(app.srcdir) / "locale")
    words = app.config.html_context.get("words", {})
    copy = {"copy": "copy", "copy_to_clipboard": "copy"}
    copy |= {"copy_success": "copied", "copy_failure": "not_copied"}
    messages = {key: words.get(word, "") for key, word in copy.items()}
    # sphinx-copybutton speaks English where it does not know a language.
    body = f"Object.assign(messages[locale], {json.dumps(messages)});"
    app.add_js_file(None, body=body, priority=900)
    if "found" in words:
        # Sphinx's catalogue of these languages has an empty text for each plural.
        texts = json.dumps({FOUND: [words["found"]] * 4})
        body = f"Object.assign(Documentation.TRANSLATIONS, {texts});"
        app.add_js_file(None, body=body, priority=900)
