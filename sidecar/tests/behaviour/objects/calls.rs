//! Calls of objects: their order, their errors, their bodies, and when they leave.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::with_objects;
use crate::app::{Setup, TestApp};
use crate::held::{HeldStore, Mode};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    objects_of_an_isolate_have_a_state_each,
    calls_of_a_stub_arrive_in_order,
    a_reset_breaks_the_stubs_that_have_reached_the_instance,
    a_stub_is_broken_by_a_reset_while_nobody_calls,
    who_waits_for_a_constructor_hears_of_its_failure,
    errors_arrive_with_class_cause_and_properties,
    values_are_carried_and_instances_of_classes_refused,
    bodies_stream_both_ways_at_once,
    a_body_is_pulled_as_it_is_read_and_cancelled,
    a_body_is_cancelled_while_its_reader_waits,
    what_breaks_a_body_is_thrown_at_its_reader,
    redirects_are_followed_to_the_same_object,
    an_object_knows_its_name_from_its_first_call_on,
    an_object_that_is_asked_or_has_a_timer_does_not_sleep,
    what_goes_over_a_limit_is_reset_with_cloudflares_texts,
    entry_points_are_called_by_exports,
    no_call_leaves_before_the_writes_before_it_are_durable,
];

fn setup() -> Setup {
    let classes = [("LAB", "Lab"), ("FAILING", "Failing")];
    Setup {
        servers: 1,
        ..with_objects(include_str!("calls.js"), &classes)
    }
}

/// What a case of the application answers.
async fn answer(case: &str) -> Value {
    answer_of(setup(), case).await
}

async fn answer_of(setup: Setup, case: &str) -> Value {
    let app = setup.start().await;
    let answer = app.text(&format!("/{case}")).await;
    app.stop().await;
    serde_json::from_str(&answer).unwrap()
}

async fn objects_of_an_isolate_have_a_state_each() {
    assert_eq!(answer("apart").await, json!([1, 2, 1, 3]));
}

async fn calls_of_a_stub_arrive_in_order() {
    let order: Vec<String> = (0..20).map(|n| format!("{n},fetch")).collect();
    let order = format!("{},end", order.join(","));
    assert_eq!(answer("order").await, json!(order));
}

async fn a_reset_breaks_the_stubs_that_have_reached_the_instance() {
    let gone = json!({ "kind": "Error", "name": "Error", "message": "enough", "durableObjectReset": true });
    let expected =
        json!({ "aborts": gone, "waits": gone, "broken": gone, "unused": 1, "other": 2 });
    assert_eq!(answer("reset").await, expected);
}

async fn a_stub_is_broken_by_a_reset_while_nobody_calls() {
    let gone =
        json!({ "kind": "Error", "name": "Error", "message": "later", "durableObjectReset": true });
    assert_eq!(answer("idleReset").await, json!([gone, 1]));
}

async fn who_waits_for_a_constructor_hears_of_its_failure() {
    let failed = json!({ "kind": "RangeError", "name": "RangeError", "message": "not ready", "durableObjectReset": true });
    assert_eq!(answer("failing").await, json!([failed, failed]));
}

async fn errors_arrive_with_class_cause_and_properties() {
    let error = json!({ "kind": "RangeError", "name": "RangeError", "message": "too far", "code": 7, "remote": true });
    let text = json!({ "kind": "Error", "name": "Error", "message": "only text", "remote": true });
    assert_eq!(
        answer("errors").await,
        json!([error, true, "TypeError", text])
    );
}

async fn values_are_carried_and_instances_of_classes_refused() {
    let refused =
        "Could not serialize object of type \"Plain\". This type does not support serialization.";
    let expected = json!([
        ["Headers", null, "1"],
        ["TypeError", 1, null],
        refused,
        "DataCloneError"
    ]);
    assert_eq!(answer("values").await, expected);
}

async fn bodies_stream_both_ways_at_once() {
    assert_eq!(answer("duplex").await, json!(["ONE", "TWO", true]));
}

async fn a_body_is_pulled_as_it_is_read_and_cancelled() {
    assert_eq!(answer("cancelled").await, json!([true, true]));
}

async fn a_body_is_cancelled_while_its_reader_waits() {
    assert_eq!(answer("cancelledReading").await, json!(["begin", true]));
}

async fn what_breaks_a_body_is_thrown_at_its_reader() {
    assert_eq!(
        answer("broken").await,
        json!(["begin", "RangeError", "broken", true])
    );
}

async fn redirects_are_followed_to_the_same_object() {
    let echoed = json!(["GET", "http://object/echo", "manual", ""]);
    assert_eq!(
        answer("redirect").await,
        json!(["http://object/echo", true, echoed])
    );
}

async fn an_object_knows_its_name_from_its_first_call_on() {
    assert_eq!(answer("names").await, json!(true));
}

async fn an_object_that_is_asked_or_has_a_timer_does_not_sleep() {
    let mut setup = setup();
    setup.limits.idle = Duration::from_secs(1);
    // Nobody asks the third one for two seconds, so it begins anew.
    assert_eq!(answer_of(setup, "asked").await, json!([41, 2, 1]));
}

async fn what_goes_over_a_limit_is_reset_with_cloudflares_texts() {
    let cpu = "Durable Object exceeded its CPU time limit and was reset.";
    let memory = "Durable Object's isolate exceeded its memory limit and was reset.";
    for (what, message) in [("spin", cpu), ("fill", memory)] {
        let mut setup = setup();
        setup.servers = 2;
        setup.limits.cpu = Duration::from_millis(300);
        setup.limits.heap_bytes = 32 << 20;
        let app = setup.start().await;
        let mut answers = vec![];
        // Until whoever asks is not in the isolate that ends.
        for name in 0..20 {
            if let (200, answer) = app.get(&format!("/limit/{what}/{name}")).await {
                answers.push(serde_json::from_str::<Value>(&answer).unwrap());
                break;
            }
        }
        app.stop().await;
        let gone = json!({ "kind": "Error", "name": "Error", "message": message, "durableObjectReset": true });
        assert_eq!(answers, [json!([gone, gone, 1])]);
    }
}

async fn entry_points_are_called_by_exports() {
    let expected = json!([
        1,
        1,
        [{ "a": 1 }, "object", "Entry"],
        "entry /path",
        "The RPC receiver does not implement the method \"nowhere\".",
        ["Entry", "Failing", "Lab", "default"],
        false,
    ]);
    assert_eq!(answer("entry").await, expected);
}

/// Time in which something that is held back would come if it were not.
const EARLY: Duration = Duration::from_millis(300);

async fn no_call_leaves_before_the_writes_before_it_are_durable() {
    for case in ["putAndCall", "putAndFetch", "putAndCallByEntry"] {
        let store = HeldStore::new().await;
        let mut setup = setup();
        setup.store = Some(store.clone());
        let app: Arc<TestApp> = Arc::new(setup.start().await);
        store.set(Mode::Held);
        let asked = app.clone();
        let called = tokio::spawn(async move { asked.text(&format!("/{case}")).await });
        store.is_asked().await;
        tokio::time::sleep(EARLY).await;
        assert!(!app.logged("is reached"), "{case}: before the commit");
        store.set(Mode::Open);
        assert_eq!(called.await.unwrap(), "\"called\"", "{case}");
        app.expect_log(&format!("{case} is reached")).await;
    }
}
