"""How PIPs++ is trained."""
