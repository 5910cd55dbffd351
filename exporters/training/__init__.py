"""Training of the networks that can be trained here."""
