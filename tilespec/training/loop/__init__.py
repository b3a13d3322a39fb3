"""Loop: step after step, to the end of a training.

Files in reading order: `loop` (the steps), `moves` (what one step does), `weight_average` (a running mean of the
weights), `throughput` (how fast it goes and what it waits for).

Law: nothing here knows a task, a net or an objective by its name.
"""
