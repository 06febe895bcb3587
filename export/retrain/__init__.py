"""Training on with TensorFlow Model Optimization: the program of a process of its own.

Nothing outside of this package may import it, because TensorFlow Model Optimization switches a
whole process to Keras 2. `python -m export.retrain FOLDER` does what the folder asks for.
"""
