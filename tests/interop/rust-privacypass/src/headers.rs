//! Challenges, and the header fields of the PrivateToken scheme (RFC 9577).

use http::HeaderValue;
use privacypass::{
    auth::{
        authenticate::{build_www_authenticate_header, parse_www_authenticate_header, TokenChallenge},
        authorize::{build_authorization_header, parse_authorization_header},
    },
    public_tokens::PublicToken,
    Serialize, TokenType,
};
use serde_json::{json, Value};

use crate::{
    command::{Command, Fallible},
    tokens::decode,
};

pub fn encode_challenge(command: &Command) -> Fallible<Value> {
    if command.number::<u16>("token_type")? != TokenType::Public as u16 {
        return Err("this peer is asked for type 0x0002 only".into());
    }
    let context = command.bytes("redemption_context")?;
    let challenge = TokenChallenge::new(
        TokenType::Public,
        command.text("issuer_name")?,
        if context.is_empty() { None } else { Some(context.as_slice().try_into()?) },
        &command.texts("origins")?,
    );
    Ok(json!({"challenge": hex::encode(challenge.serialize()?)}))
}

pub fn decode_challenge(command: &Command) -> Fallible<Value> {
    let challenge = TokenChallenge::deserialize(&command.bytes("challenge")?)?;
    Ok(json!({
        "token_type": challenge.token_type() as u16,
        "issuer_name": challenge.issuer_name(),
        "redemption_context": hex::encode(challenge.redemption_context().map_or(vec![], |context| context.to_vec())),
        "origins": challenge.origin_info(),
    }))
}

pub fn encode_www_authenticate(command: &Command) -> Fallible<Value> {
    let challenge = TokenChallenge::deserialize(&command.bytes("challenge")?)?;
    let max_age = command.number("max_age").ok();
    let (_, value) = build_www_authenticate_header(&challenge, &command.bytes("token_key")?, max_age)?;
    Ok(json!({"field": value.to_str()?}))
}

pub fn decode_www_authenticate(command: &Command) -> Fallible<Value> {
    let challenges = parse_www_authenticate_header(&HeaderValue::from_str(command.text("field")?)?)?;
    let challenges: Fallible<Vec<Value>> = challenges
        .iter()
        .map(|one| {
            Ok(json!({
                "challenge": hex::encode(one.token_challenge().serialize()?),
                "token_key": hex::encode(one.token_key()),
                "max_age": one.max_age(),
            }))
        })
        .collect();
    Ok(json!({"challenges": challenges?}))
}

pub fn encode_authorization(command: &Command) -> Fallible<Value> {
    let token: PublicToken = decode(&command.bytes("token")?)?;
    let (_, value) = build_authorization_header(&token)?;
    Ok(json!({"field": value.to_str()?}))
}

pub fn decode_authorization(command: &Command) -> Fallible<Value> {
    let token: PublicToken = parse_authorization_header(&HeaderValue::from_str(command.text("field")?)?)?;
    Ok(json!({"credentials": [{"token": hex::encode(token.tls_serialize_detached()?), "extensions": null}]}))
}
