"""Tests of the studio share clips and a running studio."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
