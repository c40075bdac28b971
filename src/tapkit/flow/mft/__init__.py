"""MFT: long-range dense tracking by choosing among chains of flows over several distances."""
