"""Reports: one document, written as a self-contained HTML page and as Markdown."""
