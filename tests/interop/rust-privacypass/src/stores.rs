//! What the crate's servers ask for keys and for nonces: here one key, no other keys, and no memory.

use std::marker::PhantomData;

use async_trait::async_trait;
use blind_rsa_signatures::{KeyPairSha384PSSDeterministic as KeyPair, SecretKeySha384PSSDeterministic as SecretKey};
use privacypass::{
    common::{private::PrivateCipherSuite, store::PrivateKeyStore},
    public_tokens::{
        public_key_to_truncated_token_key_id,
        server::{IssuerKeyStore, OriginKeyStore},
        PublicKey,
    },
    Nonce, NonceStore, TruncatedTokenKeyId, VoprfServer,
};

use crate::command::Fallible;

/// An issuer's key.
pub struct IssuerKey(TruncatedTokenKeyId, KeyPair);

impl IssuerKey {
    pub fn from_pkcs8(data: &[u8]) -> Fallible<Self> {
        let sk = SecretKey::from_der(data)?;
        let pk = sk.public_key()?;
        Ok(Self(public_key_to_truncated_token_key_id(&pk)?, KeyPair { pk, sk }))
    }
}

#[async_trait]
impl IssuerKeyStore for IssuerKey {
    async fn insert(&self, _: TruncatedTokenKeyId, _: KeyPair) -> bool {
        false
    }

    async fn get(&self, id: &TruncatedTokenKeyId) -> Option<KeyPair> {
        (*id == self.0).then(|| self.1.clone())
    }

    async fn remove(&self, _: &TruncatedTokenKeyId) -> bool {
        false
    }
}

/// The key that an origin knows.
pub struct OriginKey(TruncatedTokenKeyId, PublicKey);

impl OriginKey {
    pub fn from_spki(data: &[u8]) -> Fallible<Self> {
        let key = PublicKey::from_spki(data)?;
        Ok(Self(public_key_to_truncated_token_key_id(&key)?, key))
    }
}

#[async_trait]
impl OriginKeyStore for OriginKey {
    async fn insert(&self, _: TruncatedTokenKeyId, _: PublicKey) {}

    async fn get(&self, id: &TruncatedTokenKeyId) -> Vec<PublicKey> {
        if *id == self.0 { vec![self.1.clone()] } else { vec![] }
    }

    async fn remove(&self, _: &TruncatedTokenKeyId) -> bool {
        false
    }
}

/// No key of a type that is verified in private.
pub struct NoKeys<CS>(pub PhantomData<fn() -> CS>);

#[async_trait]
impl<CS: PrivateCipherSuite> PrivateKeyStore for NoKeys<CS> {
    type CS = CS;

    async fn insert(&self, _: TruncatedTokenKeyId, _: VoprfServer<CS>) -> bool {
        false
    }

    async fn get(&self, _: &TruncatedTokenKeyId) -> Option<VoprfServer<CS>> {
        None
    }

    async fn remove(&self, _: &TruncatedTokenKeyId) -> bool {
        false
    }
}

/// Every token is the first: one is verified at a time here.
pub struct NoMemory;

#[async_trait]
impl NonceStore for NoMemory {
    async fn reserve(&self, _: &Nonce) -> bool {
        true
    }

    async fn commit(&self, _: &Nonce) {}

    async fn release(&self, _: &Nonce) {}
}
