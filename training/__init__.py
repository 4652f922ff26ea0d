"""Training: jobs, recipes, evaluation and the backbone."""
