"""How GMRW learns from videos without labels: contrastive random walks between crops of two frames."""
