"""How each family of networks is built, lowered and surrounded; see `Family` in models.py."""
