"""From recorded runs to figures and tables: what `src/plot.py` is made of."""
