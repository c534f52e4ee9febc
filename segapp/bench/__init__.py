"""Figures of a whole server under load, each as a ratio against the plain way in the same run.

`measure` starts everything on a temporary home of its own; nothing here touches the installation it is run from.
"""
