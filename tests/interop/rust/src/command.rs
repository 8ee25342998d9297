//! Reading the fields of a command. Bytes are in hexadecimal.

use serde_json::{json, Value};

pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

pub struct Command<'a>(pub &'a Value);

impl Command<'_> {
    pub fn text(&self, name: &str) -> Fallible<&str> {
        self.0[name].as_str().ok_or_else(|| format!("{name} is not text").into())
    }

    pub fn bytes(&self, name: &str) -> Fallible<Vec<u8>> {
        Ok(hex::decode(self.text(name)?)?)
    }

    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Fallible<T> {
        let number = self.0[name].as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("{name} is not a number that fits").into())
    }

    pub fn flag(&self, name: &str) -> Fallible<bool> {
        self.0[name].as_bool().ok_or_else(|| format!("{name} is neither true nor false").into())
    }

    pub fn list(&self, name: &str) -> Fallible<&[Value]> {
        let list = self.0[name].as_array().map(Vec::as_slice);
        list.ok_or_else(|| format!("{name} is not a list").into())
    }

    pub fn parts(&self) -> Fallible<Vec<Vec<u8>>> {
        let parts = self.list("parts")?.iter();
        parts.map(|part| Ok(hex::decode(part.as_str().ok_or("a part is not text")?)?)).collect()
    }
}

/// Write a list of byte strings as JSON.
pub fn hex_list(parts: &[Vec<u8>]) -> Value {
    json!(parts.iter().map(hex::encode).collect::<Vec<_>>())
}
