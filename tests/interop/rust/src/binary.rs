//! Binary HTTP: messages to JSON and back.

use std::io::Cursor;

use bhttp::{ControlData, FieldSection, Message, Mode, StatusCode};
use serde_json::{json, Map, Value};

use crate::command::{Command, Fallible};

/// Decode a message. Names and values of fields are text, content is hexadecimal.
pub fn decode(command: &Command) -> Fallible<Value> {
    let message = Message::read_bhttp(&mut Cursor::new(command.bytes("message")?))?;
    let informational = message.informational().iter();
    let mut value = control(message.control());
    value["headers"] = fields(message.header());
    value["content"] = json!(hex::encode(message.content()));
    value["trailers"] = fields(message.trailer());
    value["informational"] = informational
        .map(|response| json!({"status": response.status().code(), "headers": fields(response.fields())}))
        .collect();
    Ok(json!({"message": value}))
}

/// Encode a message. The crate has no way to add informational responses, so those are left out.
pub fn encode(command: &Command) -> Fallible<Value> {
    let value = Command(&command.0["message"]);
    let mut message = start(&value)?;
    for (name, text) in pairs(&value, "headers")? {
        message.put_header(name, text);
    }
    message.write_content(value.bytes("content")?);
    for (name, text) in pairs(&value, "trailers")? {
        message.put_trailer(name, text);
    }
    let mode = if command.flag("indeterminate")? { Mode::IndeterminateLength } else { Mode::KnownLength };
    let mut encoded = Vec::new();
    message.write_bhttp(mode, &mut encoded)?;
    Ok(json!({"message": hex::encode(encoded)}))
}

fn start(value: &Command) -> Fallible<Message> {
    if value.0["status"].is_u64() {
        return Ok(Message::response(StatusCode::try_from(value.number::<u64>("status")?)?));
    }
    let part = |name| value.text(name).map(Vec::from);
    Ok(Message::request(part("method")?, part("scheme")?, part("authority")?, part("path")?))
}

fn pairs<'a>(value: &'a Command, name: &str) -> Fallible<Vec<(&'a str, &'a str)>> {
    let pair = |pair: &'a Value| Some((pair[0].as_str()?, pair[1].as_str()?));
    value.list(name)?.iter().map(|item| pair(item).ok_or("a field is not a pair".into())).collect()
}

fn control(control: &ControlData) -> Value {
    let mut value = Map::new();
    let parts = [
        ("method", control.method()),
        ("scheme", control.scheme()),
        ("authority", control.authority()),
        ("path", control.path()),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            value.insert(name.into(), text(part));
        }
    }
    if let Some(status) = control.status() {
        value.insert("status".into(), json!(status.code()));
    }
    Value::Object(value)
}

fn fields(section: &FieldSection) -> Value {
    section.iter().map(|field| json!([text(field.name()), text(field.value())])).collect()
}

fn text(bytes: &[u8]) -> Value {
    // Values are octets (RFC 9110, section 5.5), so each becomes the character of the same number.
    json!(bytes.iter().copied().map(char::from).collect::<String>())
}
