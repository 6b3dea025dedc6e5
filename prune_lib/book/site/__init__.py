"""The site: notebooks are executed, checked and built into the book, and the book into a folder for a static host."""
