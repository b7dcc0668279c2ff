"""The commands a person types, one file each; every one of them says how it ends by its exit code."""
