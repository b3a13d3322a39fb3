"""Workflows: verbs that are made of other verbs.

Files: `demo` (the whole work on a small scene), `repair` (damaged objects, written again by their own command),
`options` (of both), `study/` (many trainings, judged and put in one table).

Law: other verbs are called through `tilespec.api`, as a user would call them.
"""
