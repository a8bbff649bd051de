//! The URL that the application sees, and others route by, is one that is serialized as the URL standard says.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use portside_frontdoor::Config;

use crate::http2;
use crate::support::{Running, config, start, text, within};

async fn echo(config: Config) -> Running {
    start(config, |request| async move { Ok(text(request.url)) }).await
}

#[tokio::test]
async fn a_url_is_what_a_url_parser_makes_of_it() {
    let server = echo(config()).await;
    let cases: [(&str, &[u8], &str); 14] = [
        ("a", b"/s/x/../y/%2e%2e/z?q=a|b", "http://a/s/z?q=a|b"),
        ("a", b"/../../etc/./passwd", "http://a/etc/passwd"),
        ("a", b"/public/.%2E/admin", "http://a/admin"),
        ("a", b"/public\\..\\admin", "http://a/admin"),
        ("a", b"//other/x", "http://a//other/x"),
        ("a", b"/%2f%zz", "http://a/%2f%zz"),
        ("a", b"/a\"{b}?c='", "http://a/a%22%7Bb%7D?c=%27"),
        ("a", "/ü?ü".as_bytes(), "http://a/%C3%BC?%C3%BC"),
        ("a", b"/x?a/../b", "http://a/x?a/../b"),
        ("a", b"http://B:80/x/../y", "http://b/y"),
        ("Example.com:81", b"/", "http://example.com:81/"),
        ("a:80", b"/", "http://a/"),
        ("0x7f.1:8080", b"/", "http://127.0.0.1:8080/"),
        ("[0:0::1]", b"/?q", "http://[::1]/?q"),
    ];
    for (host, target, expected) in cases {
        let head = format!(" HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut client = server.connect().await;
        client
            .send([b"GET ", target, head.as_bytes()].concat())
            .await;
        let reply = client.reply().await;
        let case = String::from_utf8_lossy(target);
        assert_eq!(
            (reply.status, reply.text()),
            (200, expected),
            "{host} {case}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn a_url_of_http2_is_serialized_too() {
    let server = echo(config()).await;
    let mut sender = http2::connect::<Empty<Bytes>>(&server).await;
    for (target, expected) in [
        ("http://A:80/s/../%2e/z?q=a|b", Some("http://a/z?q=a|b")),
        ("http://1.2.3.456/", None),
    ] {
        let request = Request::get(target).body(Empty::new()).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        let status = if expected.is_some() { 200 } else { 400 };
        assert_eq!(response.status(), status, "{target}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if let Some(expected) = expected {
            assert_eq!(body, expected);
        }
    }
    drop(sender);
    server.end().await;
}

#[tokio::test]
async fn what_no_url_can_have_is_refused() {
    let server = echo(config()).await;
    for (host, target) in [
        ("1.2.3.456", &b"/"[..]),
        ("xn--a", b"/"),
        ("a<b", b"/"),
        // Bytes that are no UTF-8 have no one meaning in a URL.
        ("a", b"/\xff"),
        ("a", b"/?\xff"),
    ] {
        let head = format!(" HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut client = server.connect().await;
        client
            .send([b"GET ", target, head.as_bytes()].concat())
            .await;
        assert_eq!(client.reply().await.status, 400, "{host} {target:?}");
    }
    assert_eq!(server.calls(), 0);
    server.end().await;
}

/// Each `"` becomes three bytes.
#[tokio::test]
async fn a_path_that_grows_over_the_limit_is_refused() {
    let limited = Config {
        max_uri_bytes: 100,
        ..config()
    };
    let server = echo(limited).await;
    let ask = |quotes: usize| {
        let path = "\"".repeat(quotes);
        format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n")
    };
    assert_eq!(server.ask(&ask(33)).await.status, 200);
    assert_eq!(server.ask(&ask(34)).await.status, 414);
    assert_eq!(server.calls(), 1);
    server.end().await;
}
