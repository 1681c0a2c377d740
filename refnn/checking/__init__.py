"""The facade of checks: `refnn.check` and `refnn.assert_conforms`."""
