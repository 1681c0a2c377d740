"""Detection power: how many wrong implementations a checker catches, and how many right ones it objects to.

`refnn.study.power.catalogue` holds the mutants, each a right implementation with one small change;
`refnn.study.power.baselines` the procedures that are in use today; `refnn.study.power.score` runs them against each
other, `refnn.study.power.page` shows what came of it. The command is `refnn power`.
"""
