"""What any set of runs came to, side by side."""
