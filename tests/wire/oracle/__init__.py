"""A randomized oracle: clients that read and change everything at once, and a judge who knows what was true and what was told.

`history` is what happened, `judge` the promises (docs/promises.md) as rules over it, `model` what is stored and how it is shown; `upstream`,
`changes`, `sabotage` and `readers` are the players, `episode` puts them on one server for some seconds."""
