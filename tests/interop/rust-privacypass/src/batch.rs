//! Generic batches, of tokens of type 0x0002.

use std::marker::PhantomData;

use futures::executor::block_on;
use p384::NistP384;
use privacypass::{
    generic_tokens::{server::Server, GenericBatchTokenRequest, GenericBatchTokenResponse, GenericToken, TokenStates},
    Serialize,
};
use serde_json::{json, Value};
use voprf_ng::Ristretto255;

use crate::{
    command::{Command, Fallible},
    stores::{IssuerKey, NoKeys},
    tokens::{decode, request_one},
};

/// What a client keeps until the response, and how many tokens it asked for.
pub type States = (TokenStates, usize);

pub fn request(command: &Command, exchanges: &mut Vec<States>) -> Fallible<Value> {
    let count = command.number("count")?;
    let mut builder = GenericBatchTokenRequest::builder();
    for _ in 0..count {
        let (request, state) = request_one(command)?;
        builder = builder.add_token_request(request.into(), state.into());
    }
    let (batch, states) = builder.build();
    exchanges.push((states, count));
    let encoded = batch.tls_serialize_detached()?;
    Ok(json!({"exchange": exchanges.len() - 1, "token_request": hex::encode(encoded)}))
}

pub fn issue(command: &Command) -> Fallible<Value> {
    let key = IssuerKey::from_pkcs8(&command.bytes("private_key")?)?;
    let batch = decode(&command.bytes("token_request")?)?;
    let (p384, ristretto) = (NoKeys::<NistP384>(PhantomData), NoKeys::<Ristretto255>(PhantomData));
    let response = block_on(Server::new().issue_token_responses(&p384, &ristretto, &key, batch))?;
    Ok(json!({"token_response": hex::encode(response.tls_serialize_detached()?)}))
}

/// Say which tokens came. The crate leaves out those that were refused, and does not say which; the response does.
pub fn finalize(command: &Command, exchanges: &[States]) -> Fallible<Value> {
    let response: GenericBatchTokenResponse = decode(&command.bytes("token_response")?)?;
    let (states, count) = command.waiting(exchanges)?;
    if response.token_responses.len() != *count {
        return Err("the batch has another length".into());
    }
    let issued: Vec<bool> = response.token_responses.iter().map(|one| one.token_response.is_some()).collect();
    let mut tokens = response.issue_tokens(states)?.into_iter();
    let tokens: Fallible<Vec<Value>> = issued
        .into_iter()
        .map(|issued| if issued { encode(tokens.next()) } else { Ok(Value::Null) })
        .collect();
    Ok(json!({"tokens": tokens?}))
}

fn encode(token: Option<GenericToken>) -> Fallible<Value> {
    let Some(GenericToken::Public(token)) = token else {
        return Err("a token is missing, or of another type".into());
    };
    Ok(json!(hex::encode(token.tls_serialize_detached()?)))
}
