"""From a Keras model to a checked .tflite and what a phone needs beside it."""
