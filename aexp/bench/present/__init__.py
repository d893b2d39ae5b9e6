"""Present a bench's result: words, plots, a page, the README's table."""
