//! `airtable-emulator [--port N] [--seed FILE] [--no-limits] [--latency-ms N] [--port-file FILE] [--exit-with-stdin]`
//!
//! Prints `listening on http://127.0.0.1:PORT` and runs until it is ended (SIGTERM, or the end of its standard input).

use airtable_emulator::{Emulator, Options};
use std::io::{self, Read, Write};
use std::process::ExitCode;

const USAGE: &str = "usage: airtable-emulator [--port N] [--seed FILE] [--no-limits] [--latency-ms N] [--port-file FILE] [--exit-with-stdin]";

struct Arguments {
    options: Options,
    port_file: Option<String>,
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airtable-emulator: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let Some(arguments) = parse(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    let emulator = Emulator::start(arguments.options).map_err(|e| e.to_string())?;
    if let Some(file) = &arguments.port_file {
        // Written aside and renamed: a reader never sees half a number.
        let aside = format!("{file}.new");
        let written = std::fs::write(&aside, format!("{}\n", emulator.addr().port()))
            .and_then(|()| std::fs::rename(&aside, file));
        written.map_err(|e| format!("{file}: {e}"))?;
    }
    println!("listening on {}", emulator.url());
    io::stdout().flush().map_err(|e| e.to_string())?;
    if arguments.exit_with_stdin {
        let mut sink = [0_u8; 1024];
        while io::stdin().read(&mut sink).is_ok_and(|read| read > 0) {}
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}

/// The arguments, or nothing when help was asked for.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        options: Options::default(),
        port_file: None,
        exit_with_stdin: false,
    };
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("{word} needs a value\n{USAGE}"))
        };
        match word.as_str() {
            "--port" => arguments.options.port = number(&word, &value()?)?,
            "--latency-ms" => arguments.options.latency_ms = number(&word, &value()?)?,
            "--no-limits" => arguments.options.limits = false,
            "--port-file" => arguments.port_file = Some(value()?),
            "--exit-with-stdin" => arguments.exit_with_stdin = true,
            "--seed" => {
                let file = value()?;
                let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
                arguments.options.seed =
                    Some(serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))?);
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {word}\n{USAGE}")),
        }
    }
    Ok(Some(arguments))
}

fn number<T: std::str::FromStr>(word: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{word} does not take {text:?}"))
}
