"""From MIMIC-IV files to notes with labels: label logic, sections, splits, tables. Free of torch."""
