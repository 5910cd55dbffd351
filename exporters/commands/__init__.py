"""The commands that export, verify and fetch."""
