//! Oblivious HTTP, one-shot and chunked, for clients and gateways.

use std::collections::HashMap;

use futures::io::Cursor;
use ohttp::{
    hpke::{Aead, Kdf, Kem},
    ClientRequest, KeyConfig, Server, SymmetricSuite,
};
use serde_json::{json, Value};

use crate::{
    command::{hex_list, Command, Fallible},
    pipe::{read_parts, write_parts, Pipe},
};

type Parts = Vec<Vec<u8>>;
type OpenResponse = Box<dyn FnOnce(Vec<u8>) -> Fallible<Parts>>;
type SealResponse = Box<dyn FnOnce(Parts) -> Fallible<Vec<u8>>>;

/// Gateways and exchanges that wait for the next command, by number.
#[derive(Default)]
pub struct Exchanges {
    count: u64,
    gateways: HashMap<u64, Server>,
    clients: HashMap<u64, OpenResponse>,
    responders: HashMap<u64, SealResponse>,
}

impl Exchanges {
    pub fn gateway_new(&mut self, command: &Command) -> Fallible<Value> {
        let config = key_config(command)?;
        let encoded = config.encode()?;
        let keys = KeyConfig::encode_list(&[&config])?;
        let gateway = self.next();
        self.gateways.insert(gateway, Server::new(config)?);
        Ok(json!({"gateway": gateway, "key_config": hex::encode(encoded), "keys": hex::encode(keys)}))
    }

    pub fn gateway_open(&mut self, command: &Command) -> Fallible<Value> {
        let gateway = self.gateways.get(&command.number("gateway")?).ok_or("no such gateway")?;
        let enc_request = command.bytes("enc_request")?;
        let (parts, seal) = match command.flag("chunked")? {
            true => open_chunked(gateway.clone(), enc_request)?,
            false => open_whole(gateway, &enc_request)?,
        };
        let exchange = self.next();
        self.responders.insert(exchange, seal);
        Ok(json!({"exchange": exchange, "parts": hex_list(&parts)}))
    }

    pub fn gateway_respond(&mut self, command: &Command) -> Fallible<Value> {
        let seal = self.responders.remove(&command.number("exchange")?).ok_or("no such exchange")?;
        Ok(json!({"enc_response": hex::encode(seal(command.parts()?)?)}))
    }

    pub fn client_encapsulate(&mut self, command: &Command) -> Fallible<Value> {
        let client = ClientRequest::from_encoded_config(&command.bytes("key_config")?)?;
        let parts = command.parts()?;
        let (enc_request, open) = match command.flag("chunked")? {
            true => seal_chunked(client, &parts)?,
            false => seal_whole(client, &parts.concat())?,
        };
        let exchange = self.next();
        self.clients.insert(exchange, open);
        Ok(json!({"exchange": exchange, "enc_request": hex::encode(enc_request)}))
    }

    pub fn client_open_response(&mut self, command: &Command) -> Fallible<Value> {
        let open = self.clients.remove(&command.number("exchange")?).ok_or("no such exchange")?;
        Ok(json!({"parts": hex_list(&open(command.bytes("enc_response")?)?)}))
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Decode a list of key configurations and return those that the crate supports.
pub fn read_keys(command: &Command) -> Fallible<Value> {
    let configs = KeyConfig::decode_list(&command.bytes("keys")?)?;
    let encoded: Result<Parts, _> = configs.iter().map(KeyConfig::encode).collect();
    Ok(json!({"key_configs": hex_list(&encoded?)}))
}

pub fn key_config(command: &Command) -> Fallible<KeyConfig> {
    let kem = Kem::try_from(command.number::<u16>("kem")?)?;
    let suite = SymmetricSuite::new(
        Kdf::try_from(command.number::<u16>("kdf")?)?,
        Aead::try_from(command.number::<u16>("aead")?)?,
    );
    Ok(KeyConfig::new(command.number("key_id")?, kem, vec![suite])?)
}

fn seal_whole(client: ClientRequest, request: &[u8]) -> Fallible<(Vec<u8>, OpenResponse)> {
    let (enc_request, response) = client.encapsulate(request)?;
    Ok((enc_request, Box::new(move |enc_response| Ok(vec![response.decapsulate(&enc_response)?]))))
}

fn seal_chunked(client: ClientRequest, parts: &[Vec<u8>]) -> Fallible<(Vec<u8>, OpenResponse)> {
    let pipe = Pipe::default();
    let mut request = client.encapsulate_stream(pipe.clone())?;
    write_parts(&mut request, parts)?;
    let open = move |enc_response| read_parts(request.response(Cursor::new(enc_response))?);
    Ok((pipe.take(), Box::new(open)))
}

fn open_whole(gateway: &Server, enc_request: &[u8]) -> Fallible<(Parts, SealResponse)> {
    let (request, response) = gateway.decapsulate(enc_request)?;
    Ok((vec![request], Box::new(move |parts| Ok(response.encapsulate(&parts.concat())?))))
}

fn open_chunked(gateway: Server, enc_request: Vec<u8>) -> Fallible<(Parts, SealResponse)> {
    let mut request = gateway.decapsulate_stream(Cursor::new(enc_request));
    let parts = read_parts(&mut request)?;
    let seal = move |parts: Parts| {
        let pipe = Pipe::default();
        write_parts(request.response(pipe.clone())?, &parts)?;
        Ok(pipe.take())
    };
    Ok((parts, Box::new(seal)))
}
