"""What a reader sees: tables, figures, the explorer, and the site that they are built into."""
