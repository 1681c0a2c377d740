"""Networks of ops: their files, data, training and account, from which fixtures are made."""
