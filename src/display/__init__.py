"""How things are shown: tables, figures, pages, published numbers."""
