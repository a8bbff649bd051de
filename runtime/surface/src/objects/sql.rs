//! `ctx.storage.sql`: statements, and the rows that they give.

use deno_core::{OpState, op2, v8};
use deno_error::JsErrorBox;
use portside_objectdb::Value;

use super::database;

type Scope<'s, 'i> = v8::PinScope<'s, 'i>;

/// Executes statements; returns the number of a cursor for the rows of the last one.
#[op2(fast)]
#[smi]
pub(crate) fn op_sql_exec(
    state: &mut OpState,
    scope: &mut v8::PinScope<'_, '_>,
    #[smi] actor: u32,
    #[string] sql: &str,
    bindings: v8::Local<'_, v8::Array>,
) -> Result<u32, JsErrorBox> {
    let bindings: Vec<Value> = (0..bindings.length())
        .filter_map(|n| {
            let value = bindings.get_index(scope, n)?;
            Some(bound(scope, value))
        })
        .collect();
    database::with(state, actor, |own| {
        let cursor = own.database().exec(sql, &bindings)?;
        own.last_cursor += 1;
        own.cursors.insert(own.last_cursor, cursor);
        Ok(own.last_cursor)
    })
}

/// The names of a cursor's columns.
#[op2]
#[serde]
pub(crate) fn op_sql_columns(
    state: &mut OpState,
    #[smi] actor: u32,
    #[smi] cursor: u32,
) -> Result<Vec<String>, JsErrorBox> {
    database::with(state, actor, |own| {
        let cursor = own.cursors.get(&cursor);
        Ok(cursor.map_or_else(Vec::new, |cursor| cursor.column_names().to_vec()))
    })
}

/// How many rows a cursor's statement has read and written until now.
#[op2]
#[serde]
pub(crate) fn op_sql_counts(
    state: &mut OpState,
    #[smi] actor: u32,
    #[smi] cursor: u32,
) -> Result<(u64, u64), JsErrorBox> {
    database::with(state, actor, |own| {
        let cursor = own.cursors.get(&cursor);
        Ok(cursor.map_or((0, 0), |cursor| (cursor.rows_read(), cursor.rows_written())))
    })
}

/// The values of a cursor's next row; null at its end.
#[op2]
pub(crate) fn op_sql_next<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[smi] actor: u32,
    #[smi] cursor: u32,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let row = database::with(state, actor, |own| {
        let cursor = own.cursors.get_mut(&cursor);
        cursor.and_then(Iterator::next).transpose()
    })?;
    Ok(match row {
        None => v8::null(scope).into(),
        Some(row) => {
            let values: Vec<_> = row.into_iter().map(|value| shown(scope, value)).collect();
            v8::Array::new_with_elements(scope, &values).into()
        }
    })
}

/// A cursor that JavaScript has let go of.
#[op2(fast)]
pub(crate) fn op_sql_close(state: &mut OpState, #[smi] actor: u32, #[smi] cursor: u32) {
    // An object that is gone has none.
    let _ = database::with(state, actor, |own| {
        own.cursors.remove(&cursor);
        Ok(())
    });
}

/// The database's size, in bytes.
#[op2(fast)]
#[number]
pub(crate) fn op_sql_size(state: &mut OpState, #[smi] actor: u32) -> Result<u64, JsErrorBox> {
    database::with(state, actor, |own| own.database().database_size())
}

/// What JavaScript has made of a value to be bound: a number, a text, bytes, or null.
fn bound(scope: &mut Scope<'_, '_>, value: v8::Local<'_, v8::Value>) -> Value {
    if value.is_number() {
        return Value::Real(value.number_value(scope).unwrap_or_default());
    }
    if value.is_string() {
        return Value::Text(value.to_rust_string_lossy(scope));
    }
    if let Ok(view) = value.try_cast::<v8::ArrayBufferView>() {
        let mut bytes = vec![0; view.byte_length()];
        view.copy_contents(&mut bytes);
        return Value::Blob(bytes);
    }
    Value::Null
}

fn shown<'s>(scope: &mut Scope<'s, '_>, value: Value) -> v8::Local<'s, v8::Value> {
    match value {
        Value::Null => v8::null(scope).into(),
        #[expect(clippy::cast_precision_loss, reason = "as Durable Objects have it")]
        Value::Integer(number) => v8::Number::new(scope, number as f64).into(),
        Value::Real(number) => v8::Number::new(scope, number).into(),
        Value::Text(text) => match v8::String::new(scope, &text) {
            Some(text) => text.into(),
            None => v8::null(scope).into(),
        },
        Value::Blob(bytes) => {
            let store = v8::ArrayBuffer::new_backing_store_from_bytes(bytes).make_shared();
            v8::ArrayBuffer::with_backing_store(scope, &store).into()
        }
    }
}
