"""The commands for engines, and `verify`, which checks them like every other file."""
