"""What people look at: progress, the printed tables, the page."""
