"""The commands of `edgeticket`; each calls one function that does the work."""
