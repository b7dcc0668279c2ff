"""The rules of booking as pure values and functions; imports no driver and nothing else of ours."""
