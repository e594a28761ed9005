"""Scripted faults, and runnable examples."""
