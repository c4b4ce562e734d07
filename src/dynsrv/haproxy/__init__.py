"""What does HAProxy have, and how is it changed? The only package that knows both the model and the Runtime API."""
