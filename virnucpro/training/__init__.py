"""Train a classifier: recipe, cross-fitting, evaluation and model card. Only the training stages import this."""
