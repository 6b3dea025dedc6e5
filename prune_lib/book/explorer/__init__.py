"""The explorer of JupyterLab: what it shows, its pictures, its widgets."""
