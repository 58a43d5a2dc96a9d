"""What Podium costs, beside the native commands that its own stand for. Run by scripts/bench.

`rows` lists what is measured; a file a subject does it; `figures` and `table` are pure; `scene` starts and fills servers,
`load` asks them. Results are ratios taken within one run: only those travel between machines."""
