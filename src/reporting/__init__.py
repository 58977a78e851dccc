"""Reports on a cohort and on finished runs, as pages, tables and figures."""
