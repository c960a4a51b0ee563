"""The version of this project, which `main.py --version` shows and every run records."""

__version__ = "0.2.0"
