"""The HTTP room: routes, wire shapes, problems and tokens. It decides nothing about a booking."""
