"""Trainers over the frameworks people have: torch, and the TFLite runtimes. Each imports its framework when it is made."""
