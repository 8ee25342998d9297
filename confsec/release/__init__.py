"""Releases that anyone can build again: the files of a commit, what is built from them, and how two builds differ."""
