"""Grids of jobs that survive their machines: plan, worker, retries, dry run, status; `launchers` are where they run."""
