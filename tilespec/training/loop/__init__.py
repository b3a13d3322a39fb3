"""Loop: the steps of a training until its end.

Files in reading order: `loop` (the steps), `moves` (the contents of one step), `weight_average` (a running mean of the
weights), `throughput` (speed and waiting times).

Law: nothing here knows a task, a net or an objective by its name.
"""
