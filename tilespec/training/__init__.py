"""Training: what a net learns from, step after step, and what is kept of it; `tilespec.train` is the verb."""
