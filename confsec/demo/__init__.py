"""The whole service on one machine: every role in a process of its own, watched, and attacked."""
