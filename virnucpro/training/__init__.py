"""Train a classifier: recipe, cross-fitting, evaluation and model card. The only room that loads scikit-learn."""
