"""Train a classifier: recipe, cross-fitting, evaluation and model card. Only the stages of a training import this."""
