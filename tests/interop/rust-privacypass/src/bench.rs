//! Times one step of RSABSSA-SHA384-PSS-Deterministic, as often as it is told, with everything else made before.

use std::time::Instant;

use blind_rsa_signatures::{DefaultRng, SecretKeySha384PSSDeterministic as SecretKey};
use serde_json::{json, Value};

use crate::command::{Command, Fallible};

pub fn run(command: &Command) -> Fallible<Value> {
    let sk = SecretKey::from_der(&command.bytes("private_key")?)?;
    let pk = sk.public_key()?;
    let msg = [0; 98]; // as long as what is signed for a token
    let blinded = pk.blind(&mut DefaultRng, msg)?;
    let blind_sig = sk.blind_sign(&blinded.blind_message)?;
    let sig = pk.finalize(&blind_sig, &blinded, msg)?;
    let iterations = command.number("iterations")?;
    let seconds = match command.text("what")? {
        "blind" => repeat(iterations, || Ok(drop(pk.blind(&mut DefaultRng, msg)?))),
        "blind_sign" => repeat(iterations, || Ok(drop(sk.blind_sign(&blinded.blind_message)?))),
        "finalize" => repeat(iterations, || Ok(drop(pk.finalize(&blind_sig, &blinded, msg)?))),
        "verify" => repeat(iterations, || Ok(pk.verify(&sig, None, msg)?)),
        what => Err(format!("this peer has no benchmark {what}").into()),
    };
    Ok(json!({"seconds": seconds?}))
}

fn repeat(iterations: u64, step: impl Fn() -> Fallible<()>) -> Fallible<f64> {
    let begin = Instant::now();
    for _ in 0..iterations {
        step()?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
