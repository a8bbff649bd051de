//! What debuggers are told of an exception that nobody has caught: `Runtime.exceptionThrown` of Chrome's protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use deno_core::serde_json::{Value, json};
use deno_core::v8;

/// The context that deno_core tells V8's inspector of.
const CONTEXT: u32 = 1;

/// The event for what was thrown, which reads as `text`.
pub fn thrown(
    scope: &mut v8::PinScope<'_, '_>,
    thrown: v8::Local<'_, v8::Value>,
    text: &str,
    is_rejection: bool,
    id: u64,
) -> Value {
    let frames = frames(scope, thrown);
    let said = match is_rejection {
        true => "Uncaught (in promise)",
        false => "Uncaught",
    };
    let mut details = json!({
        "exceptionId": id,
        "text": said,
        "lineNumber": 0,
        "columnNumber": 0,
        "exception": described(scope, thrown, text),
        "executionContextId": CONTEXT,
    });
    if let Some(top) = frames.first() {
        for place in ["scriptId", "url", "lineNumber", "columnNumber"] {
            details[place] = top[place].clone();
        }
        details["stackTrace"] = json!({ "callFrames": frames });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    json!({
        "method": "Runtime.exceptionThrown",
        "params": {
            "timestamp": now.map_or(0.0, |now| now.as_secs_f64() * 1000.0),
            "exceptionDetails": details,
        },
    })
}

/// Where it was thrown, from the innermost call on.
fn frames(scope: &mut v8::PinScope<'_, '_>, thrown: v8::Local<'_, v8::Value>) -> Vec<Value> {
    let message = v8::Exception::create_message(scope, thrown);
    let Some(stack) = message.get_stack_trace(scope) else {
        return vec![];
    };
    let frames = (0..stack.get_frame_count()).filter_map(|n| {
        let frame = stack.get_frame(scope, n)?;
        let text = |text: Option<v8::Local<'_, v8::String>>, scope: &mut v8::PinScope<'_, '_>| {
            text.map_or_else(String::new, |text| text.to_rust_string_lossy(scope))
        };
        let (function, url) = (frame.get_function_name(scope), frame.get_script_name(scope));
        Some(json!({
            "functionName": text(function, scope),
            "scriptId": frame.get_script_id().to_string(),
            "url": text(url, scope),
            // The protocol counts from 0.
            "lineNumber": frame.get_line_number().saturating_sub(1),
            "columnNumber": frame.get_column().saturating_sub(1),
        }))
    });
    frames.collect()
}

/// As an object of the protocol that cannot be looked into any further.
fn described(
    scope: &mut v8::PinScope<'_, '_>,
    thrown: v8::Local<'_, v8::Value>,
    text: &str,
) -> Value {
    let kind = thrown.type_of(scope).to_rust_string_lossy(scope);
    if thrown.is_string() {
        return json!({ "type": kind, "value": text });
    }
    let mut described = json!({ "type": kind, "description": text });
    if thrown.is_native_error() {
        described["subtype"] = "error".into();
    }
    if let Ok(object) = v8::Local::<v8::Object>::try_from(thrown) {
        let class = object.get_constructor_name();
        described["className"] = class.to_rust_string_lossy(scope).into();
    }
    described
}
