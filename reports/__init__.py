"""Pages for people: Matplotlib charts as SVG, and Jinja templates. Only `flows` imports it."""
