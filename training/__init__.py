"""Training: jobs, recipes, evaluation and the backbone."""

import app  # noqa: F401 - before torch is loaded: it sets how torch's threads wait
