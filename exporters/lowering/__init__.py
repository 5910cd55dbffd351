"""Deployable forms of the networks: real-valued, batch norms folded, equal to the reference."""
