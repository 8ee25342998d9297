"""The checks of this project, one session each: `nox -l` lists them, `nox -s lint` runs one."""

from __future__ import annotations
