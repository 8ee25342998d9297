//! A peer for confsec's interop tests and benchmarks, made from the crates `ohttp` and `bhttp`.
//!
//! It reads one command as JSON from each line of stdin and answers with one line of JSON on stdout. The README beside
//! this folder lists the commands.

mod bench;
mod binary;
mod command;
mod oblivious;
mod pipe;

use std::{
    any::Any,
    io::{self, BufRead, Write},
    panic::{self, AssertUnwindSafe},
};

use serde_json::{json, Value};

use crate::{
    command::{Command, Fallible},
    oblivious::Exchanges,
};

fn main() -> io::Result<()> {
    ohttp::init();
    // A panic inside a crate is an answer like any other error; its text goes there and not to stderr.
    panic::set_hook(Box::new(|_| {}));
    let mut exchanges = Exchanges::default();
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(stdout, "{}", answer(&mut exchanges, &line?))?;
        stdout.flush()?;
    }
    Ok(())
}

fn answer(exchanges: &mut Exchanges, line: &str) -> Value {
    match panic::catch_unwind(AssertUnwindSafe(|| run(exchanges, line))) {
        Ok(Ok(mut value)) => {
            value["ok"] = json!(true);
            value
        }
        Ok(Err(error)) => json!({"ok": false, "error": error.to_string()}),
        Err(cause) => json!({"ok": false, "error": format!("panic: {}", describe(&*cause))}),
    }
}

fn run(exchanges: &mut Exchanges, line: &str) -> Fallible<Value> {
    let value = serde_json::from_str(line)?;
    let command = Command(&value);
    match command.text("op")? {
        "gateway_new" => exchanges.gateway_new(&command),
        "gateway_open" => exchanges.gateway_open(&command),
        "gateway_respond" => exchanges.gateway_respond(&command),
        "client_encapsulate" => exchanges.client_encapsulate(&command),
        "client_open_response" => exchanges.client_open_response(&command),
        "read_keys" => oblivious::read_keys(&command),
        "bhttp_decode" => binary::decode(&command),
        "bhttp_encode" => binary::encode(&command),
        "bench" => bench::run(&command),
        op => Err(format!("this peer has no op {op}").into()),
    }
}

fn describe(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
