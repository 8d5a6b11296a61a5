"""One page to look at: what was measured, whether to believe it, and what it cost.

    write_page(gather([Path("runs/demo")]), Path("page.html"))

A page is one HTML file without scripts, that loads nothing. It is made of report files, and where
they lie in the folder of a run, of its bundle, too: names of classes, pictures of samples, what
each pass did. `sources.gather` collects, each module of `sections/` turns what was collected into
the values of one part, `charts/` draws, `render.write_page` writes.
"""
