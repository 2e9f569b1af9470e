"""The dashboard: pages that run in a browser and speak to the admin API, as anybody else does.

Everything below `static` is served as it lies there: there is no build step.
"""

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
