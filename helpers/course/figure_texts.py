"""A figure in an executed notebook is also told in words, for those who cannot see it.

The runner copies this file to where the kernel of a lesson looks for what to run first:
it runs in the lesson's own namespace, and leaves no name there.
"""


def figures_in_words() -> None:
    """Puts a figure's titles and axes in the place of its size as plain text."""
    from IPython import get_ipython
    from IPython.core import pylabtools

    shell, before = get_ipython(), pylabtools.select_figure_formats

    def text(figure, printer, cycle) -> None:
        from helpers.plotting import described  # not yet there when the kernel starts

        printer.text(described(figure))

    def select(*args, **options) -> None:
        before(*args, **options)  # forgets what formats were set before
        plain = shell.display_formatter.formatters["text/plain"]
        plain.for_type_by_name("matplotlib.figure", "Figure", text)

    if shell:
        pylabtools.select_figure_formats = select


figures_in_words()
del figures_in_words
