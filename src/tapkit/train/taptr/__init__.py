"""What TAPTR and TAPTRv2 are trained by."""
