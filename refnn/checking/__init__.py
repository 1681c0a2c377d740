"""The facade of checks: `refnn.check`, `refnn.assert_conforms`, and what judges one tensor."""
