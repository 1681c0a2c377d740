"""What is true: the certified value of a call, how far an implementation may be from it, and how far it is expected to
be."""
