//! A worker's state in memory, and arbitrary batches to change it.

use std::collections::BTreeMap;

use portside_core::alarm::{self, Alarm, AlarmChange};
use portside_core::write::{Value, WriteBatch};
use proptest::prelude::*;

/// What a worker has stored, as core's own functions have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Keys and values.
    pub entries: BTreeMap<String, Value>,
    /// The armed alarm.
    pub alarm: Option<Alarm>,
}

impl Model {
    /// Applies a batch.
    pub fn apply(&mut self, batch: &WriteBatch) {
        if batch.clear {
            self.entries.clear();
        }
        for (key, value) in &batch.writes {
            match value {
                Some(value) => self.entries.insert(key.clone(), value.clone()),
                None => self.entries.remove(key),
            };
        }
        self.alarm = alarm::apply(self.alarm, batch.alarm);
    }
}

/// Any change of an alarm; few armings, so that conditions are often met.
pub fn alarm_change() -> impl Strategy<Value = AlarmChange> {
    let alarm = || {
        (1..4_i64, 0..3_u32, 0..3_i64).prop_map(|(scheduled, retries, later)| Alarm {
            scheduled,
            retries,
            due: scheduled + later,
        })
    };
    prop_oneof![
        3 => Just(AlarmChange::Keep),
        2 => alarm().prop_map(AlarmChange::Set),
        1 => Just(AlarmChange::Clear),
        2 => (1..4_i64).prop_map(|scheduled| AlarmChange::ClearIf { scheduled }),
        2 => alarm().prop_map(|next| AlarmChange::RetryIf { next }),
    ]
}

/// Up to `most` batches on few keys, among them the empty one, NUL and characters outside ASCII.
pub fn batches(most: usize) -> impl Strategy<Value = Vec<WriteBatch>> {
    let key = prop_oneof![
        "[ab\u{0}]{0,2}",
        Just("é".to_owned()),
        Just("𝄞\u{0}".to_owned())
    ];
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..4));
    let writes = proptest::collection::btree_map(key, value, 0..4).prop_map(|writes| {
        let writes = writes.into_iter();
        writes
            .map(|(key, value)| (key, value.map(Value::from)))
            .collect()
    });
    let batch = (proptest::bool::weighted(0.2), writes, alarm_change()).prop_map(
        |(clear, writes, alarm)| WriteBatch {
            clear,
            writes,
            alarm,
        },
    );
    proptest::collection::vec(batch, 0..=most)
}
