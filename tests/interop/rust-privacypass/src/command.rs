//! Reading the fields of a command. Bytes are in hexadecimal.

use serde_json::Value;

pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

pub struct Command<'a>(pub &'a Value);

impl Command<'_> {
    pub fn text(&self, name: &str) -> Fallible<&str> {
        self.0[name].as_str().ok_or_else(|| format!("{name} is not text").into())
    }

    pub fn bytes(&self, name: &str) -> Fallible<Vec<u8>> {
        Ok(hex::decode(self.text(name)?)?)
    }

    pub fn optional_bytes(&self, name: &str) -> Fallible<Option<Vec<u8>>> {
        self.0.get(name).map(|_| self.bytes(name)).transpose()
    }

    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Fallible<T> {
        let number = self.0[name].as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("{name} is not a number that fits").into())
    }

    pub fn texts(&self, name: &str) -> Fallible<Vec<String>> {
        let list = self.0[name].as_array().ok_or_else(|| format!("{name} is not a list"))?;
        list.iter().map(|item| Ok(item.as_str().ok_or("an item is not text")?.to_owned())).collect()
    }

    /// Find what waits for this command.
    pub fn waiting<'w, T>(&self, exchanges: &'w [T]) -> Fallible<&'w T> {
        exchanges.get(self.number::<usize>("exchange")?).ok_or_else(|| "no such exchange".into())
    }
}
