"""Turning weights as published into graphs that the runtime serves."""
