use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// What comes back of what is written.
fn again(json: &Json) -> Json {
    to_json(&from_json(json).unwrap()).unwrap()
}

#[test]
fn every_type_comes_back() {
    for value in [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1_073_741_824),
        json!(-9_007_199_254_740_991_i64),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("é"),
        json!("😀 wide"),
        json!(["a", "😀", "b", "💜"]),
        json!([]),
        json!([1, [2, {"$hole": true}], "x"]),
        json!({"a": {"b": [null]}, "1": 2, "ключ": "значение"}),
        json!({"$undefined": true}),
        json!({"$number": "NaN"}),
        json!({"$number": "-0"}),
        json!({"$number": "-Infinity"}),
        json!({"$bigint": "0"}),
        json!({"$bigint": "-1"}),
        json!({"$bigint": "340282366920938463463374607431768211456"}),
        json!({"$date": "2026-01-02T03:04:05.678Z"}),
        json!({"$date": "-000001-01-01T00:00:00Z"}),
        json!({"$date": 8_640_000_000_000_000_i64}),
        json!({"$date": null}),
        json!({"$map": [[1, {"$set": ["x"]}], [{"a": 1}, null]]}),
        json!({"$regexp": "a+/é", "flags": "giv"}),
        json!({"$bytes": "AAECAw==", "type": "Uint8Array"}),
        json!({"$bytes": "AAECAw==", "type": "Int32Array"}),
        json!({"$bytes": "AAECAw==", "type": "DataView"}),
        json!({"$bytes": "", "type": "ArrayBuffer"}),
        json!({"$error": "no", "name": "TypeError", "cause": {"a": 1}}),
        json!({"$error": "", "name": "Error"}),
        json!({"$object": {"$map": 1}}),
    ] {
        assert_eq!(again(&value), value);
    }
}

#[test]
fn numbers_too_large_are_infinite_as_in_javascript() {
    for (text, shown) in [("1e999", "Infinity"), ("[-1e999]", "-Infinity")] {
        // Who does not keep the digits of numbers refuses it.
        let Ok(json) = serde_json::from_str::<Json>(text) else {
            continue;
        };
        let back = again(&json);
        let number = back.get(0).unwrap_or(&back);
        assert_eq!(number, &json!({"$number": shown}), "{text}");
    }
}

#[test]
fn minus_zero_keeps_its_sign() {
    for text in ["-0", "-0.0", "-0e5"] {
        let json = serde_json::from_str::<Json>(text).unwrap();
        assert_eq!(again(&json), json!({"$number": "-0"}), "{text}");
    }
    let zero = serde_json::from_str::<Json>("0").unwrap();
    assert_eq!(again(&zero), json!(0));
}

#[test]
fn what_is_short_is_written_as_the_whole() {
    let short = json!({"$bytes": "AA=="});
    assert_eq!(
        again(&short),
        json!({"$bytes": "AA==", "type": "Uint8Array"})
    );
    let millis = json!({"$date": 0});
    assert_eq!(again(&millis), json!({"$date": "1970-01-01T00:00:00Z"}));
    assert_eq!(
        again(&json!({"$error": "e", "name": "MyError"}))["name"],
        "Error"
    );
}

/// As V8 14 wrote them; each with what it is in JSON.
#[test]
fn what_the_engine_writes_is_read() {
    let cases: [(&[u8], Json); 6] = [
        (
            b"\xff\x0fo\"\x01aI\x02\"\x01b_{\x02",
            json!({"a": 1, "b": {"$undefined": true}}),
        ),
        // An object twice, and one in itself.
        (b"\xff\x0fA\x02o{\x00^\x01$\x00\x02", json!([{}, {}])),
        (
            b"\xff\x0fo\"\x04self^\x00{\x01",
            json!({"self": {"$again": true}}),
        ),
        // An array of four of which one is there.
        (
            b"\xff\x0fa\x04I\x04T@\x01\x04",
            json!([{"$hole": true}, {"$hole": true}, true, {"$hole": true}]),
        ),
        (b"\xff\x0fs\"\x01a", json!("a")),
        (b"\xff\x10n\x00\x00\x00\x00\x00\x00\xf8?", json!(1.5)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(to_json(bytes), Ok(expected), "{bytes:?}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    for stored in [
        &b""[..],
        b"\x01",
        b"\x02\xff\x0f0",
        b"\x01\xff\x0f",
        b"\x01\xff\x0fo",
        b"\x01\xff\x7f0",
    ] {
        assert!(to_json(stored).is_err(), "{stored:?}");
    }
}

/// Each of these arrays is the one before it, twice.
#[test]
fn few_bytes_that_come_to_many_values_are_refused() {
    let arrays = 40_u8;
    let mut clone = b"\xff\x0f".to_vec();
    for _ in 0..arrays {
        clone.extend(b"A\x02");
    }
    clone.extend(b"A\x00$\x00\x00");
    for inner in (1..=arrays).rev() {
        clone.extend([b'^', inner]);
        clone.extend(b"$\x00\x02");
    }
    let error = to_json(&clone).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn what_is_no_value_says_what_is_wrong() {
    for (json, why) in [
        (json!({"$date": "soon"}), "\"$date\" has to be a time"),
        (json!({"$date": []}), "\"$date\" has to be a time"),
        (json!({"$bigint": 1}), "\"$bigint\" has to be a string"),
        (json!({"$bigint": "1.5"}), "an integer"),
        (json!({"$map": [[1]]}), "an array of pairs"),
        (json!({"$set": 1}), "an array"),
        (
            json!({"$regexp": "(", "flags": "g"}),
            "\"$regexp\" has to be a pattern",
        ),
        (json!({"$regexp": "a", "flags": "x"}), "\"flags\""),
        (json!({"$regexp": "a", "flags": "-"}), "\"flags\""),
        (json!({"$bytes": "?"}), "base64"),
        (
            json!({"$bytes": "AA==", "type": "Int16Array"}),
            "a multiple of 2",
        ),
        (json!({"$bytes": "AA==", "type": "Blob"}), "\"type\""),
        (json!({"$number": "1"}), "NaN"),
        (json!({"$what": 1}), "$object"),
        (json!([{"$hole": false}]), "$hole"),
        (json!({"$undefined": false}), "true"),
        (json!({"$error": "e", "name": 1}), "\"name\""),
        (
            json!({"$regexp": "a", "flags": "uv"}),
            "without u or without v",
        ),
        (json!({"$set": [], "a": 1}), "has no \"a\""),
    ] {
        let error = from_json(&json).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    let deep = (0..300).fold(json!(1), |inner, _| json!([inner]));
    assert!(from_json(&deep).unwrap_err().to_string().contains("256"));
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        (-1e9..1e9_f64).prop_map(Json::from),
        ".*".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            proptest::collection::btree_map("[a-zé😀]{0,3}", inner, 0..5)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_comes_back(value in any_json()) {
        let back = again(&value);
        // 1.0 is the number 1.
        let normal = |json: &Json| json.to_string().replace(".0,", ",").replace(".0]", "]").replace(".0}", "}");
        let (back, value) = (json!([back]), json!([value]));
        prop_assert_eq!(normal(&back), normal(&value));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = to_json(&[&[0xff, 15], bytes.as_slice()].concat());
    }
}
