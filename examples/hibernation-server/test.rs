//! Sockets of a sleeping object, from outside.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{App, Socket, kill_under_load};

async fn connect(app: &App) -> Socket {
    app.socket("/websocket").await
}

/// Sends a text and gives what the object answers; what others say meanwhile is skipped.
async fn ask(socket: &mut Socket, text: &str) -> Value {
    socket.send_text(text).await;
    socket.receive_type("answer").await
}

#[tokio::test]
async fn the_object_sleeps_and_its_sockets_stay() {
    let app = App::start("hibernation-server").await;
    let (mut ada, mut grace) = (connect(&app).await, connect(&app).await);
    let before = ask(&mut ada, "Good night").await;
    assert_eq!(
        (&before["connections"], &before["constructed"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(before["lastPing"], Value::Null);
    let heard = grace.receive().await;
    assert_eq!(
        (&heard["type"], &heard["message"]),
        (&json!("heard"), &json!("Good night"))
    );
    assert_eq!(heard["id"], before["id"]);

    // It sleeps after ten idle seconds. Pings are answered, and leave it alone.
    for _ in 0..13 {
        ada.send_text("ping").await;
        assert_eq!(ada.receive_text().await, "pong");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = ask(&mut ada, "Good morning").await;
    assert_eq!(after["constructed"], 2, "it was made anew");
    assert_eq!(
        (&after["id"], &after["messages"]),
        (&before["id"], &json!(2))
    );
    assert_eq!(after["connections"], 2);
    assert!(after["lastPing"].is_string(), "{after}");

    // The other socket is the one it was, too, and hears.
    assert_eq!(grace.receive().await["message"], "Good morning");
    let other = ask(&mut grace, "So long").await;
    assert_eq!(
        (&other["messages"], &other["constructed"]),
        (&json!(1), &json!(2))
    );
    assert_ne!(other["id"], after["id"]);
}

#[tokio::test]
async fn a_close_wakes_it_and_is_counted() {
    let app = App::start("hibernation-server").await;
    let (mut ada, grace) = (connect(&app).await, connect(&app).await);
    assert_eq!(ask(&mut ada, "Hello").await["connections"], 2);
    tokio::time::sleep(Duration::from_secs(13)).await;
    grace.close().await;
    let after = ask(&mut ada, "Alone?").await;
    assert_eq!(
        (&after["connections"], &after["constructed"]),
        (&json!(1), &json!(2))
    );
}

#[tokio::test]
async fn no_number_is_given_twice_whatever_crashes() {
    let mut app = App::start("hibernation-server").await;
    let mut told: Vec<u64> = vec![];
    for crashes in 1..=2 {
        let sockets = join_all((0..8).map(|_| connect(&app))).await;
        let clients = sockets.into_iter().map(|mut socket| {
            async move || {
                socket.try_send("count me").await?;
                loop {
                    let message = socket.try_receive().await?;
                    if message["type"] == "answer" {
                        assert_eq!(message["constructed"], crashes);
                        return Ok(message["ofAll"].as_u64().unwrap());
                    }
                }
            }
        });
        told.extend(kill_under_load(&mut app, 200, clients).await);
        app.run().await;
    }
    let last = ask(&mut connect(&app).await, "count me").await;
    assert_eq!(
        (&last["constructed"], &last["messages"]),
        (&json!(3), &json!(1))
    );
    told.push(last["ofAll"].as_u64().unwrap());
    assert!(
        told.iter().max() == told.last(),
        "counted on from before the crash"
    );
    told.sort_unstable();
    assert!(
        told.windows(2).all(|pair| pair[0] < pair[1]),
        "a number came twice"
    );
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let app = App::start("hibernation-server").await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(app.get("/other").await.status, 404);
    let plain = app.get("/websocket").await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
}
