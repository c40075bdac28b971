"""How TAPIR is trained."""
