//! Tokens of type 0x0002, one by one.

use blind_rsa_signatures::DefaultRng;
use futures::executor::block_on;
use privacypass::{
    auth::authenticate::TokenChallenge,
    public_tokens::{
        server::{IssuerServer, OriginServer},
        PublicKey, PublicToken, TokenRequest, TokenResponse, TokenState,
    },
    Deserialize, Serialize,
};
use serde_json::{json, Value};

use crate::{
    command::{Command, Fallible},
    stores::{IssuerKey, NoMemory, OriginKey},
};

/// What a client keeps until the response.
pub type State = TokenState;

/// Decode all of `data`.
pub fn decode<T: Deserialize>(mut data: &[u8]) -> Fallible<T> {
    let value = T::tls_deserialize(&mut data)?;
    if !data.is_empty() {
        return Err("bytes are left over".into());
    }
    Ok(value)
}

/// Make one token request.
pub fn request_one(command: &Command) -> Fallible<(TokenRequest, TokenState)> {
    if command.optional_bytes("extensions")?.is_some() {
        return Err("this peer has no tokens with extensions".into());
    }
    let challenge = TokenChallenge::deserialize(&command.bytes("challenge")?)?;
    let key = PublicKey::from_spki(&command.bytes("token_key")?)?;
    Ok(TokenRequest::new(&mut DefaultRng, key, &challenge)?)
}

pub fn request(command: &Command, exchanges: &mut Vec<State>) -> Fallible<Value> {
    let (request, state) = request_one(command)?;
    exchanges.push(state);
    let encoded = request.tls_serialize_detached()?;
    Ok(json!({"exchange": exchanges.len() - 1, "token_request": hex::encode(encoded)}))
}

pub fn issue(command: &Command) -> Fallible<Value> {
    let key = IssuerKey::from_pkcs8(&command.bytes("private_key")?)?;
    let request = decode(&command.bytes("token_request")?)?;
    let response = block_on(IssuerServer::new().issue_token_response(&key, request))?;
    Ok(json!({"token_response": hex::encode(response.tls_serialize_detached()?)}))
}

pub fn finalize(command: &Command, exchanges: &[State]) -> Fallible<Value> {
    let response: TokenResponse = decode(&command.bytes("token_response")?)?;
    let token = response.issue_token(command.waiting(exchanges)?)?;
    Ok(json!({"token": hex::encode(token.tls_serialize_detached()?)}))
}

pub fn verify(command: &Command) -> Fallible<Value> {
    let key = OriginKey::from_spki(&command.bytes("token_key")?)?;
    let token: PublicToken = decode(&command.bytes("token")?)?;
    block_on(OriginServer::new().redeem_token(&key, &NoMemory, token))?;
    Ok(json!({}))
}
