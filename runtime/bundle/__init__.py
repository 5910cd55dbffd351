"""The bundle: its manifest, reading, transactions, and the commands that repair it."""
