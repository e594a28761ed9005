"""The journal on disk: a run that is killed at any moment goes on where it was."""
