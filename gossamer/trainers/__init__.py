"""Trainers over the frameworks people have, torch and the TFLite runtimes, each imported when it is used."""
