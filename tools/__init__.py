"""Tailgate's host tools: everything that runs on a developer's machine, never on the device."""
