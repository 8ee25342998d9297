//! A peer for confsec's interop tests and benchmarks, made from the crates `privacypass` and `blind-rsa-signatures`.
//!
//! It reads one command as JSON from each line of stdin and answers with one line of JSON on stdout. The README beside
//! this folder lists the commands.

mod batch;
mod bench;
mod blind_rsa;
mod command;
mod headers;
mod stores;
mod tokens;

use std::{
    any::Any,
    io::{self, BufRead, Write},
    panic::{self, AssertUnwindSafe},
};

use serde_json::{json, Value};

use crate::command::{Command, Fallible};

/// What waits for its answer, by the number of its exchange.
#[derive(Default)]
struct Exchanges {
    blind_rsa: Vec<blind_rsa::Finalize>,
    tokens: Vec<tokens::State>,
    batches: Vec<batch::States>,
}

fn main() -> io::Result<()> {
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
        "brsa_blind" => blind_rsa::blind(&command, &mut exchanges.blind_rsa),
        "brsa_sign" => blind_rsa::sign(&command),
        "brsa_finalize" => blind_rsa::finalize(&command, &exchanges.blind_rsa),
        "brsa_verify" => blind_rsa::verify(&command),
        "token_request" => tokens::request(&command, &mut exchanges.tokens),
        "token_issue" => tokens::issue(&command),
        "token_finalize" => tokens::finalize(&command, &exchanges.tokens),
        "token_verify" => tokens::verify(&command),
        "batch_request" => batch::request(&command, &mut exchanges.batches),
        "batch_issue" => batch::issue(&command),
        "batch_finalize" => batch::finalize(&command, &exchanges.batches),
        "challenge_encode" => headers::encode_challenge(&command),
        "challenge_decode" => headers::decode_challenge(&command),
        "www_authenticate_encode" => headers::encode_www_authenticate(&command),
        "www_authenticate_decode" => headers::decode_www_authenticate(&command),
        "authorization_encode" => headers::encode_authorization(&command),
        "authorization_decode" => headers::decode_authorization(&command),
        "bench" => bench::run(&command),
        op => Err(format!("this peer has no op {op}").into()),
    }
}

fn describe(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
