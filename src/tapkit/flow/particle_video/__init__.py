"""Particle Video (Sand and Teller): long-range motion as a set of linked particles, optimised over several frames."""
