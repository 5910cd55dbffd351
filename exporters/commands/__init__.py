"""The commands that export, fetch, train and look inside."""
