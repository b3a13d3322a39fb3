"""Workflows: verbs that combine other verbs.

Files: `demo` (the whole work on a small scene), `repair` (damaged objects, written again by their own command),
`options` (of both), `study/` (many trainings with their scores in one table).

Law: other verbs are called through `tilespec.api`, as a user would call them.
"""
