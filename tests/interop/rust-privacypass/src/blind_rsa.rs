//! Blind RSA signatures (RFC 9474), and partially blind ones where a command has `info`.

use std::marker::PhantomData;

use blind_rsa_signatures::{
    pbrsa::{PartiallyBlindKeyPair, PartiallyBlindPublicKey, PartiallyBlindSecretKey},
    BlindSignature, BlindingResult, DefaultRng, Deterministic, MessagePrepare, MessageRandomizer, PSSZero, PublicKey,
    Randomized, SaltMode, SecretKey, Sha384, Signature, PSS,
};
use serde_json::{json, Value};

use crate::command::{Command, Fallible};

const PREFIX: usize = 32;

/// Takes the blinding off a signature.
pub type Finalize = Box<dyn Fn(Vec<u8>) -> Fallible<Vec<u8>>>;

/// One of the named variants, of both families.
trait Variant {
    fn blind(&self, public_key: &[u8], msg: Vec<u8>, info: Option<Vec<u8>>) -> Fallible<(BlindingResult, Finalize)>;
    fn sign(&self, private_key: &[u8], blinded_msg: &[u8], info: Option<Vec<u8>>) -> Fallible<Vec<u8>>;
    fn verify(&self, public_key: &[u8], input_msg: &[u8], sig: Vec<u8>, info: Option<Vec<u8>>) -> Fallible<()>;
}

struct Of<S, M>(PhantomData<(S, M)>);

impl<S: SaltMode + 'static, M: MessagePrepare + 'static> Variant for Of<S, M> {
    fn blind(&self, public_key: &[u8], msg: Vec<u8>, info: Option<Vec<u8>>) -> Fallible<(BlindingResult, Finalize)> {
        let Some(info) = info else {
            let key = PublicKey::<Sha384, S, M>::from_der(public_key)?;
            let blinded = key.blind(&mut DefaultRng, &msg)?;
            let kept = blinded.clone();
            let finalize = move |sig| Ok(key.finalize(&BlindSignature(sig), &kept, &msg)?.0);
            return Ok((blinded, Box::new(finalize)));
        };
        let key = PartiallyBlindPublicKey::<Sha384, S, M>::from_der(public_key)?.derive_public_key_for_metadata(&info)?;
        let blinded = key.blind(&mut DefaultRng, &msg, Some(&info))?;
        let kept = blinded.clone();
        let finalize = move |sig| Ok(key.finalize(&BlindSignature(sig), &kept, &msg, Some(&info))?.0);
        Ok((blinded, Box::new(finalize)))
    }

    fn sign(&self, private_key: &[u8], blinded_msg: &[u8], info: Option<Vec<u8>>) -> Fallible<Vec<u8>> {
        let Some(info) = info else {
            return Ok(SecretKey::<Sha384, S, M>::from_der(private_key)?.blind_sign(blinded_msg)?.0);
        };
        let sk = PartiallyBlindSecretKey::<Sha384, S, M>::from_der(private_key)?;
        let pair = PartiallyBlindKeyPair { pk: sk.public_key()?, sk };
        Ok(pair.derive_secret_key_for_metadata(&info)?.blind_sign(blinded_msg)?.0)
    }

    fn verify(&self, public_key: &[u8], input_msg: &[u8], sig: Vec<u8>, info: Option<Vec<u8>>) -> Fallible<()> {
        let (prefix, msg) = input_msg.split_at(if M::RANDOMIZE { PREFIX } else { 0 });
        let prefix = prefix.try_into().ok().map(MessageRandomizer);
        let Some(info) = info else {
            return Ok(PublicKey::<Sha384, S, M>::from_der(public_key)?.verify(&Signature(sig), prefix, msg)?);
        };
        let key = PartiallyBlindPublicKey::<Sha384, S, M>::from_der(public_key)?.derive_public_key_for_metadata(&info)?;
        Ok(key.verify(&Signature(sig), prefix, msg, Some(&info))?)
    }
}

fn variant(command: &Command) -> Fallible<Box<dyn Variant>> {
    let name = command.text("variant")?;
    let (_, kind) = name.split_once("-SHA384-").ok_or("this peer is asked for SHA-384 only")?;
    Ok(match kind {
        "PSS-Randomized" => Box::new(Of::<PSS, Randomized>(PhantomData)),
        "PSSZERO-Randomized" => Box::new(Of::<PSSZero, Randomized>(PhantomData)),
        "PSS-Deterministic" => Box::new(Of::<PSS, Deterministic>(PhantomData)),
        "PSSZERO-Deterministic" => Box::new(Of::<PSSZero, Deterministic>(PhantomData)),
        _ => return Err(format!("this peer has no variant {name}").into()),
    })
}

pub fn blind(command: &Command, exchanges: &mut Vec<Finalize>) -> Fallible<Value> {
    let (public_key, msg) = (command.bytes("public_key")?, command.bytes("msg")?);
    let (blinded, finalize) = variant(command)?.blind(&public_key, msg.clone(), command.optional_bytes("info")?)?;
    exchanges.push(finalize);
    let prefix = blinded.msg_randomizer.map(|prefix| prefix.0.to_vec()).unwrap_or_default();
    Ok(json!({
        "exchange": exchanges.len() - 1,
        "input_msg": hex::encode([prefix, msg].concat()),
        "blinded_msg": hex::encode(blinded.blind_message),
    }))
}

pub fn sign(command: &Command) -> Fallible<Value> {
    let (private_key, blinded_msg) = (command.bytes("private_key")?, command.bytes("blinded_msg")?);
    let blind_sig = variant(command)?.sign(&private_key, &blinded_msg, command.optional_bytes("info")?)?;
    Ok(json!({"blind_sig": hex::encode(blind_sig)}))
}

pub fn finalize(command: &Command, exchanges: &[Finalize]) -> Fallible<Value> {
    let sig = command.waiting(exchanges)?(command.bytes("blind_sig")?)?;
    Ok(json!({"sig": hex::encode(sig)}))
}

pub fn verify(command: &Command) -> Fallible<Value> {
    let (public_key, input_msg) = (command.bytes("public_key")?, command.bytes("input_msg")?);
    variant(command)?.verify(&public_key, &input_msg, command.bytes("sig")?, command.optional_bytes("info")?)?;
    Ok(json!({}))
}
