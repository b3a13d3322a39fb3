"""Ranks: processes that learn together, where they are started, how they meet, and what they share."""
