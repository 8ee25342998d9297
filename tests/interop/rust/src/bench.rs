//! Work for benchmarks, timed inside this process: both ends, in memory.

use std::{io::Cursor, time::Instant};

use bhttp::{Message, Mode};
use futures::{executor::block_on, AsyncWriteExt};
use ohttp::{ClientRequest, Server};
use serde_json::{json, Value};

use crate::{
    command::{Command, Fallible},
    oblivious::key_config,
    pipe::{read_available, Pipe},
};

/// The crate neither sends nor accepts longer chunks.
const MAX_CHUNK: usize = 1 << 14;

pub fn run(command: &Command) -> Fallible<Value> {
    let size = command.number("size")?;
    let seconds = match command.text("what")? {
        "ohttp" => exchanges(command, size)?,
        "stream" => stream(command, size)?,
        "bhttp" => bhttp(size, command.number("iterations")?)?,
        what => return Err(format!("this peer has no benchmark {what}").into()),
    };
    Ok(json!({"seconds": seconds}))
}

/// Encapsulate, decapsulate, and the same for the response; a new key for each exchange as the protocol has it.
fn exchanges(command: &Command, size: usize) -> Fallible<f64> {
    let server = Server::new(key_config(command)?)?;
    let config = server.config().encode()?;
    let data = vec![0x61; size];
    let begin = Instant::now();
    for _ in 0..command.number::<u64>("iterations")? {
        let (enc_request, client) = ClientRequest::from_encoded_config(&config)?.encapsulate(&data)?;
        let (request, responder) = server.decapsulate(&enc_request)?;
        let response = client.decapsulate(&responder.encapsulate(&request)?)?;
        assert_eq!(response.len(), size);
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Send one long chunked request and read it on the other end, chunk by chunk.
fn stream(command: &Command, size: usize) -> Fallible<f64> {
    let chunk = command.number::<usize>("chunk")?;
    if chunk > MAX_CHUNK {
        return Err(format!("this peer has no chunks over {MAX_CHUNK} bytes").into());
    }
    let server = Server::new(key_config(command)?)?;
    let pipe = Pipe::default();
    let client = ClientRequest::from_encoded_config(&server.config().encode()?)?;
    let (data, mut buffer) = (vec![0x61; chunk], vec![0; 1 << 15]);
    let begin = Instant::now();
    let mut sender = client.encapsulate_stream(pipe.clone())?;
    let mut receiver = server.decapsulate_stream(pipe);
    let mut received = 0;
    for _ in 0..size / chunk {
        block_on(sender.write_all(&data))?;
        received += read_available(&mut receiver, &mut buffer)?;
    }
    block_on(sender.close())?;
    received += read_available(&mut receiver, &mut buffer)?;
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!(received, size);
    Ok(seconds)
}

/// Encode and decode a request with `size` bytes of content.
fn bhttp(size: usize, iterations: u64) -> Fallible<f64> {
    let data = vec![0x61; size];
    let begin = Instant::now();
    for _ in 0..iterations {
        let mut message = Message::request("POST".into(), "https".into(), "example.com".into(), "/v1/chat/completions".into());
        message.put_header("content-type", "application/json");
        message.put_header("accept", "text/event-stream");
        message.write_content(&data);
        let mut encoded = Vec::with_capacity(size + 128);
        message.write_bhttp(Mode::KnownLength, &mut encoded)?;
        assert_eq!(Message::read_bhttp(&mut Cursor::new(&encoded[..]))?.content().len(), size);
    }
    Ok(begin.elapsed().as_secs_f64())
}
